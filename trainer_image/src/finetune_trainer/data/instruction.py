"""Rows that ask for an answer: instruction data and chats, as conversations; preference data, as pairs."""

from dataclasses import dataclass
from typing import Final

from finetune_api.spec.data import Columns
from finetune_trainer.data.columns import (
    RECOGNISED,
    as_optional_text,
    as_text,
    find_column,
    missing_column,
    need_column,
)
from finetune_trainer.data.formats.base import RawRow
from finetune_trainer.data.formats.strict_json import json_type
from finetune_trainer.data.problems import RowError, Source
from finetune_trainer.data.rows import Conversation, Pair, Turn
from finetune_trainer.data.turns import parse_conversation_turns, parse_turns, require_alternation

_ASKS: Final = (*RECOGNISED["instruction"], *RECOGNISED["messages"])


def parse_conversation(raw: RawRow, columns: Columns | None, source: Source) -> Conversation:
    """The conversation that an object holds: its turns, or an instruction and its answer.

    Raises:
        RowError: a column is missing, ambiguous, empty or of the wrong type, or roles make no conversation.

    """
    names = columns or Columns()
    messages = find_column(raw, names, "messages")
    response = find_column(raw, names, "response")
    if names.messages and not messages:
        raise missing_column(raw, "the turns", names.messages, RECOGNISED["messages"])
    if messages and response and not (names.messages or names.response):
        raise RowError(
            f"it has both {messages!r} and {response!r}",
            "name the one to use in data.*.columns or remove the other",
        )
    if messages and not names.response:
        return Conversation(parse_conversation_turns(raw[messages], messages), source)
    return Conversation(_exchange(raw, names, response), source)


def _exchange(raw: RawRow, names: Columns, response: str | None) -> tuple[Turn, ...]:
    if response is None and "text" in raw and not (names.response or find_column(raw, names, "instruction")):
        raise RowError(
            "it has only raw text in 'text': nothing says which part is the answer to learn",
            "set objective.type to continued-pretraining to learn all of it, or add an instruction and its response",
        )
    asked = _asked(raw, names, response)
    if asked is None:
        raise missing_column(raw, "an instruction", names.instruction, _ASKS)
    if response is None:
        raise missing_column(raw, "an answer", names.response, RECOGNISED["response"])
    return asked, Turn("assistant", as_text(raw[response], response))


def _asked(raw: RawRow, names: Columns, response: str | None) -> Turn | None:
    """The user's turn of instruction data, or None where no column holds it."""
    instruction = find_column(raw, names, "instruction")
    context = find_column(raw, names, "input")
    if instruction is None and names.instruction is None and (context, response) == ("input", "output"):
        instruction, context = context, None
    if instruction is None:
        return None
    if context == instruction:
        context = None  # named as the instruction
    given = as_optional_text(raw[context], context) if context else ""
    return Turn("user", as_text(raw[instruction], instruction), given)


def parse_pair(raw: RawRow, columns: Columns | None, source: Source) -> Pair:
    """The pair that an object holds: both answers as text beside a prompt, or both as turns that share the prompt.

    Raises:
        RowError: a column is missing, empty or of the wrong type, the answers are the same, or their prompts differ.

    """
    names = columns or Columns()
    chosen = _side(raw, need_column(raw, names, "chosen", "the preferred answer"))
    rejected = _side(raw, need_column(raw, names, "rejected", "the other answer"))
    if chosen.prompt != rejected.prompt:
        raise RowError(
            f"{chosen.field!r} and {rejected.field!r} part before their last turns",
            "let them share every turn but the last",
        )
    prompt = _pair_prompt(raw, names, chosen)
    if chosen.answer.strip() == rejected.answer.strip():
        raise RowError(
            f"{chosen.field!r} and {rejected.field!r} are the same answer", "say which is better, or remove the row"
        )
    return Pair(prompt, chosen.answer, rejected.answer, source)


@dataclass(frozen=True, slots=True)
class _Side:
    field: str
    prompt: tuple[Turn, ...]
    """Turns before the answer; none where the column holds the answer alone."""
    answer: str


def _side(raw: RawRow, field: str) -> _Side:
    value = raw[field]
    if isinstance(value, str):
        return _Side(field, (), as_text(value, field))
    if not isinstance(value, list):
        raise RowError(
            f"field {field!r} is {json_type(value)}, neither a string nor an array of turns",
            "write the answer as text, or [{role, content}, ...] that ends with it",
        )
    *prompt, answer = parse_turns(value, field) or (Turn("user", ""),)
    if answer.role != "assistant":
        raise RowError(f"field {field!r} does not end with an assistant turn", "end it with the answer")
    return _Side(field, tuple(prompt), answer.content)


def _pair_prompt(raw: RawRow, names: Columns, side: _Side) -> tuple[Turn, ...]:
    """The turns that both answers follow, from their own column or from the turns of the answers."""
    messages = find_column(raw, names, "messages")
    column = messages or find_column(raw, names, "instruction")
    apart: tuple[Turn, ...] = ()
    if column and isinstance(raw[column], list):
        apart = parse_turns(raw[column], column)
    elif column:
        asked = _asked(raw, names, None)
        apart = (asked,) if asked else ()
    if apart and side.prompt and not _is_same_prompt(apart, side.prompt):
        raise RowError(
            f"field {column!r} is not the prompt that {side.field!r} begins with",
            "remove one of them or make them equal",
        )
    prompt = side.prompt or apart
    if not prompt:
        raise missing_column(raw, "the prompt", names.instruction, _ASKS)
    field = side.field if side.prompt else str(column)
    require_alternation(prompt, field)
    if prompt[-1].role != "user":
        raise RowError(f"the prompt in field {field!r} does not end with a user turn", "end it with what is asked")
    return prompt


def _is_same_prompt(apart: tuple[Turn, ...], within: tuple[Turn, ...]) -> bool:
    """Whether a prompt in its own column is that of the turns, or the question that they end with."""
    told = [(turn.role, turn.text) for turn in apart]
    return told == [(turn.role, turn.text) for turn in within][-len(told) :]
