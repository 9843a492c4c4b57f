"""Lists of messages as turns of a conversation: {role, content} of chat APIs and {from, value} of ShareGPT."""

import math
from typing import Final

from finetune_trainer.data.columns import as_text, shown
from finetune_trainer.data.formats.strict_json import json_type
from finetune_trainer.data.problems import RowError
from finetune_trainer.data.rows import Role, Turn

_ROLES: Final[dict[str, Role]] = {
    "system": "system", "user": "user", "assistant": "assistant", "human": "user", "gpt": "assistant"
}  # fmt: skip
"""The roles of chat APIs and those of ShareGPT."""
_NOT_READ: Final = ("tool_calls", "function_call", "reasoning_content", "reasoning", "thinking")
"""What a message may say beside its content: dropping it would teach something else than the row says."""


def parse_turns(value: object, field: str) -> tuple[Turn, ...]:
    """The turns of a field: an optional system turn, then user and assistant in turn, the user first.

    Raises:
        RowError: it holds no such turns; an empty array gives none.

    """
    if not isinstance(value, list):
        raise RowError(f"field {field!r} is {json_type(value)}, not an array of turns", "write [{role, content}, ...]")
    turns = tuple(_turn(item, f"{field}[{index}]") for index, item in enumerate(value))
    if any(turn.role == "system" for turn in turns[1:]):
        raise RowError(f"field {field!r} has a system turn that is not the first", "move it to the start")
    return turns


def parse_conversation_turns(value: object, field: str) -> tuple[Turn, ...]:
    """Turns that end with the assistant's, which is what is learnt.

    Raises:
        RowError: they make no such conversation.

    """
    turns = parse_turns(value, field)
    roles = [turn.role for turn in turns]
    if "assistant" not in roles:
        raise RowError(f"field {field!r} has no assistant turn", "add the wanted answer as the last turn")
    if roles[-1] != "assistant":
        raise RowError(f"field {field!r} ends with a {roles[-1]} turn", "end with the assistant's answer")
    require_alternation(turns, field)
    if not any(turn.weight for turn in turns if turn.role == "assistant"):
        raise RowError(
            f"every assistant turn of field {field!r} has weight 0, so that nothing is learnt",
            "give one of them a weight above 0 or remove the row",
        )
    return turns


def require_alternation(turns: tuple[Turn, ...], field: str) -> None:
    """Raise RowError unless user and assistant speak in turn, the user first."""
    talk = [turn.role for turn in turns if turn.role != "system"]
    if any(role != ("user", "assistant")[index % 2] for index, role in enumerate(talk)):
        raise RowError(
            f"field {field!r} does not alternate user and assistant turns, the user first",
            "merge turns of one role, and let the user speak first",
        )


def _turn(item: object, field: str) -> Turn:
    if not isinstance(item, dict):
        raise RowError(f"field {field!r} is {json_type(item)}, not an object", "write {role, content}")
    role_key, content_key = ("from", "value") if "from" in item else ("role", "content")
    name = item.get(role_key)
    role = _ROLES.get(name) if isinstance(name, str) else None
    if role is None:
        raise RowError(
            f"field '{field}.{role_key}' is {shown(name)}, not a known role", f"use one of {', '.join(_ROLES)}"
        )
    for key in _NOT_READ:
        if item.get(key):
            raise RowError(
                f"field '{field}.{key}' is not learnt from: only the text of {content_key!r} is",
                f"write it into {content_key!r} as the model is to write it, or remove it",
            )
    return Turn(role, as_text(item.get(content_key), f"{field}.{content_key}"), weight=_weight(item, role, field))


def _weight(item: dict[str, object], role: Role, field: str) -> float:
    value = item.get("weight")
    if value is None:
        return 1.0
    if role != "assistant":
        raise RowError(f"field '{field}.weight' is on a {role} turn", "only assistant turns are learnt; remove it")
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1 or math.isnan(value):
        raise RowError(f"field '{field}.weight' is {shown(value)}", "write a number from 0 to 1")
    return float(value)
