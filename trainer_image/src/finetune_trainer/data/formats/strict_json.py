"""JSON as RFC 8259 has it: Python's own reader, without what it lets pass and a user would be surprised by.

Python's reader takes the last of two equal keys and knows NaN and Infinity. Both are errors here: nobody can say
which of two answers was meant.
"""

import json
from typing import Any, Final

from finetune_trainer.data.problems import RowError

_TYPES: Final[dict[type, str]] = {
    type(None): "null", bool: "a boolean", int: "a number", float: "a number", str: "a string", list: "an array",
    dict: "an object",
}  # fmt: skip


def json_type(value: object) -> str:
    """What a value is, in JSON's words with an article; Parquet's further types by their Python name."""
    return _TYPES.get(type(value)) or f"of type {type(value).__name__}"


class StrictDecoder:
    """Decodes JSON values; a value that is well-formed but not acceptable is read to its end before it is refused."""

    def __init__(self) -> None:
        self._fault: RowError | None = None
        self._decoder = json.JSONDecoder(object_pairs_hook=self._object, parse_constant=self._constant)

    def value_at(self, text: str, start: int) -> tuple[Any, int]:
        """The value that begins at `start`, and where it ends. `object_or_fault` says whether it can be used.

        Raises:
            json.JSONDecodeError: not JSON.
            RowError: a number too long or nesting too deep for this machine.

        """
        self._fault = None
        try:
            return self._decoder.raw_decode(text, start)
        except json.JSONDecodeError:
            raise
        except (ValueError, RecursionError):
            raise RowError("broken JSON: a number is too long or objects are nested too deep", "simplify it") from None

    def object_or_fault(self, value: Any, remedy: str) -> dict[str, Any] | RowError:
        """The value last decoded if it is an object without faults; `remedy` is for what is no object."""
        if self._fault is not None:
            return self._fault
        return value if isinstance(value, dict) else RowError(f"it holds {json_type(value)}, not an object", remedy)

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        members = dict(pairs)
        if len(members) < len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            self._fault = RowError(f"the key {twice!r} stands twice in one object", "keep the one that is meant")
        return members

    def _constant(self, name: str) -> float:
        self._fault = RowError(f"{name} is not JSON", "write a number, a string or null")
        return float(name)
