"""From raw objects to rows: columns are recognised, and every row becomes turns of a conversation.

Instruction data is a conversation of one exchange, so that templates, splits and evaluation know one shape only.
"""

import hashlib
import json
from dataclasses import dataclass
from typing import Final, Literal

from finetune_api.spec.data import Columns
from finetune_trainer.data.formats.base import RawRow
from finetune_trainer.data.formats.strict_json import json_type
from finetune_trainer.data.problems import RowError, Source

Role = Literal["system", "user", "assistant"]

_INSTRUCTION: Final = ("instruction", "prompt", "question")
_INPUT: Final = ("input", "context")
_RESPONSE: Final = ("response", "completion", "answer", "output")
_MESSAGES: Final = ("messages", "conversations")

_ROLES: Final[dict[str, Role]] = {
    "system": "system", "user": "user", "assistant": "assistant", "human": "user", "gpt": "assistant"
}  # fmt: skip
"""The roles of chat APIs and those of ShareGPT."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One message."""

    role: Role
    content: str
    context: str = ""
    """The input that goes with an instruction; templates decide how it is put."""

    @property
    def text(self) -> str:
        """Content, blank line, context."""
        return f"{self.content}\n\n{self.context}" if self.context else self.content


@dataclass(frozen=True, slots=True)
class Row:
    """One conversation that ends with the assistant's turn."""

    turns: tuple[Turn, ...]
    source: Source

    @property
    def answer(self) -> str:
        """The last assistant turn: what generated answers are compared with."""
        return self.turns[-1].content

    @property
    def question(self) -> str:
        """The last turn before the answer."""
        return self.turns[-2].text if len(self.turns) > 1 else ""

    def digest(self) -> bytes:
        """SHA-256 of the content; equal rows in different places have equal digests."""
        content = [(turn.role, turn.text) for turn in self.turns]
        return hashlib.sha256(json.dumps(content).encode()).digest()


def parse_row(raw: RawRow, columns: Columns | None, source: Source) -> Row:
    """The row that an object holds.

    Raises:
        RowError: a column is missing, ambiguous, empty or of the wrong type, or roles make no conversation.

    """
    names = columns or Columns()
    messages = _column(raw, names.messages, _MESSAGES, "messages")
    response = _column(raw, names.response, _RESPONSE, "response")
    if names.messages and not messages:
        raise _missing("the turns", names.messages, _MESSAGES, raw)
    if messages and response and not (names.messages or names.response):
        raise RowError(
            f"it has both {messages!r} and {response!r}",
            "name the one to use in data.*.columns or remove the other",
        )
    if messages and not names.response:
        return Row(_conversation(raw[messages], messages), source)
    return Row(_exchange(raw, names, response), source)


def _exchange(raw: RawRow, names: Columns, response: str | None) -> tuple[Turn, ...]:
    instruction = _column(raw, names.instruction, _INSTRUCTION, "instruction")
    context = _column(raw, names.input, _INPUT, "input")
    if instruction is None:
        raise _missing("an instruction", names.instruction, (*_INSTRUCTION, *_MESSAGES), raw)
    if response is None:
        raise _missing("an answer", names.response, _RESPONSE, raw)
    asked = _text(raw[instruction], instruction)
    given = _text(raw[context], context, required=False) if context else ""
    return Turn("user", asked, given), Turn("assistant", _text(raw[response], response))


def _column(raw: RawRow, named: str | None, recognised: tuple[str, ...], what: str) -> str | None:
    """The name of the one column for a purpose, or None where the row has none."""
    if named is not None:
        return named if named in raw else None
    found = [name for name in recognised if name in raw]
    if len(found) > 1:
        choices = " and ".join(repr(name) for name in found)
        raise RowError(f"{choices} could each be the {what}", f"set data.*.columns.{what} to the one to use")
    return found[0] if found else None


def _missing(what: str, named: str | None, recognised: tuple[str, ...], raw: RawRow) -> RowError:
    wanted = repr(named) if named else ", ".join(recognised)
    has = ", ".join(sorted(map(str, raw))[:8]) or "none"
    return RowError(f"it has no column for {what} ({wanted}); its columns: {has}", "add it or set data.*.columns")


def _conversation(value: object, column: str) -> tuple[Turn, ...]:
    if not isinstance(value, list):
        raise RowError(f"field {column!r} is {json_type(value)}, not an array of turns", "write [{role, content}, ...]")
    turns = tuple(_turn(item, f"{column}[{index}]") for index, item in enumerate(value))
    roles = [turn.role for turn in turns]
    if "assistant" not in roles:
        raise RowError(f"field {column!r} has no assistant turn", "add the wanted answer as the last turn")
    if roles[-1] != "assistant":
        raise RowError(f"field {column!r} ends with a {roles[-1]} turn", "end with the assistant's answer")
    if "system" in roles[1:]:
        raise RowError(f"field {column!r} has a system turn that is not the first", "move it to the start")
    talk = roles[1:] if roles[0] == "system" else roles
    if talk != ["user", "assistant"] * (len(talk) // 2):
        raise RowError(f"field {column!r} does not alternate user and assistant turns", "merge turns of one role")
    return turns


def _turn(item: object, field: str) -> Turn:
    if not isinstance(item, dict):
        raise RowError(f"field {field!r} is {json_type(item)}, not an object", "write {role, content}")
    role_key, content_key = ("from", "value") if "from" in item else ("role", "content")
    role = item.get(role_key)
    if not isinstance(role, str) or role not in _ROLES:
        raise RowError(f"field '{field}.{role_key}' is {role!r}, not a known role", f"use one of {', '.join(_ROLES)}")
    return Turn(_ROLES[role], _text(item.get(content_key), f"{field}.{content_key}"))


def _text(value: object, field: str, *, required: bool = True) -> str:
    if value is None and not required:
        return ""
    if not isinstance(value, str):
        raise RowError(f"field {field!r} is {json_type(value)}, not a string", "write it as text in double quotes")
    if required and not value.strip():
        raise RowError(f"field {field!r} is empty", "fill it in or remove the row")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise RowError(f"field {field!r} has half a surrogate pair", "write the character itself in UTF-8") from None
    return value
