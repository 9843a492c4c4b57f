"""Which column of an object serves which purpose: those the spec names, else those recognised by themselves."""

from typing import Final, Literal

from finetune_api.spec.data import Columns
from finetune_trainer.data.formats.base import RawRow
from finetune_trainer.data.formats.strict_json import json_type
from finetune_trainer.data.problems import RowError

Purpose = Literal["instruction", "input", "response", "messages", "text", "label", "chosen", "rejected"]

RECOGNISED: Final[dict[Purpose, tuple[str, ...]]] = {
    "instruction": ("instruction", "prompt", "question"),
    "input": ("input", "context"),
    "response": ("response", "completion", "answer", "output"),
    "messages": ("messages", "conversations"),
    "text": ("text",),
    "label": ("label", "category", "class"),
    "chosen": ("chosen",),
    "rejected": ("rejected",),
}
"""Names that need no `columns`."""
TEXT_TO_CLASSIFY: Final = ("text", "sentence", "review")
"""Names of the text beside a label."""
NOT_NAMED: Final = Columns()
"""What data sets without `columns` have."""
_NAMES_SHOWN: Final = 8
_LETTERS_SHOWN: Final = 40


def find_column(
    raw: RawRow, columns: Columns, purpose: Purpose, recognised: tuple[str, ...] | None = None
) -> str | None:
    """The name of the one column for a purpose, or None where the row has none.

    Raises:
        RowError: two columns could serve.

    """
    named: str | None = getattr(columns, purpose)
    if named is not None:
        return named if named in raw else None
    found = [name for name in recognised or RECOGNISED[purpose] if name in raw]
    if len(found) > 1:
        choices = " and ".join(repr(name) for name in found)
        raise RowError(f"{choices} could each be the {purpose}", f"set data.*.columns.{purpose} to the one to use")
    return found[0] if found else None


def need_column(
    raw: RawRow, columns: Columns, purpose: Purpose, what: str, recognised: tuple[str, ...] | None = None
) -> str:
    """The name of the one column for a purpose that a row cannot do without; `what` is it, with an article.

    Raises:
        RowError: none or two.

    """
    found = find_column(raw, columns, purpose, recognised)
    if found is None:
        raise missing_column(raw, what, getattr(columns, purpose), recognised or RECOGNISED[purpose])
    return found


def missing_column(raw: RawRow, what: str, named: str | None, recognised: tuple[str, ...]) -> RowError:
    """No column for a purpose, with those that there are."""
    wanted = repr(named) if named else ", ".join(recognised)
    has = ", ".join(name[:_LETTERS_SHOWN] for name in sorted(map(str, raw))[:_NAMES_SHOWN]) or "none"
    return RowError(f"it has no column for {what} ({wanted}); its columns: {has}", "add it or set data.*.columns")


def as_text(value: object, field: str) -> str:
    """A field's text.

    Raises:
        RowError: no string, nothing but white space, or no Unicode text.

    """
    text = as_optional_text(value, field, null_is_empty=False)
    if not text.strip():
        raise RowError(f"field {field!r} is empty", "fill it in or remove the row")
    return text


def as_optional_text(value: object, field: str, *, null_is_empty: bool = True) -> str:
    """A field's text, which may be empty.

    Raises:
        RowError: no string, or no Unicode text.

    """
    if value is None and null_is_empty:
        return ""
    if not isinstance(value, str):
        raise RowError(f"field {field!r} is {json_type(value)}, not a string", "write it as text in double quotes")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise RowError(
                f"field {field!r} has half a surrogate pair", "write the character itself in UTF-8"
            ) from None
    return value


def shown(value: object) -> str:
    """A value from a row as messages show it: quoted, and short whatever it is."""
    text = repr(value)
    return text if len(text) <= _LETTERS_SHOWN else f"{text[:_LETTERS_SHOWN]}..."
