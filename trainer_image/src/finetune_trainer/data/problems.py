"""Bad rows, gathered so that a user repairs a data set in one go instead of one row per run."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Literal

SHOWN: Final = 10
"""Bad rows that a message spells out; the rest are counted."""

Unit = Literal["line", "row", "index"]
"""Lines and rows (of Parquet) count from 1; an index into a JSON array from 0, as every language does."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where a row comes from, as a user finds it."""

    file: str
    number: int | None = None
    """None: the file as a whole."""
    unit: Unit = "line"

    def __reduce__(self) -> tuple[type["Source"], tuple[str, int | None, Unit]]:
        # A third of the bytes and of the time that pickle's own way takes; rows go between processes by the million.
        return Source, (self.file, self.number, self.unit)

    def __str__(self) -> str:
        if self.number is None:
            return self.file
        if self.unit == "index":
            return f"{self.file}[{self.number}]"
        return f"{self.file}:{self.number}" if self.unit == "line" else f"{self.file} row {self.number}"


class RowError(ValueError):
    """One row cannot be used: what is wrong with it, and the remedy."""

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(problem, remedy)
        self.problem, self.remedy = problem, remedy
        self.text: str | None = None
        """The row as it stands in the file, where it could not even be parsed."""

    def __str__(self) -> str:
        return f"{self.problem}; {self.remedy}"


class FileError(RowError):
    """From `source` on, a file cannot be read: what follows would be a guess."""

    def __init__(self, source: Source, problem: str, remedy: str) -> None:
        super().__init__(problem, remedy)
        self.args = (source, problem, remedy)  # what a copy of it is made from
        self.source = source


KeepBad = Callable[[Source, RowError, dict[str, Any] | None], None]
"""Takes a bad row: where it stands, what is wrong with it, and the object, where one could be read."""


@dataclass(slots=True)
class Problems:
    """Bad rows met so far, over all files."""

    keep: KeepBad | None = None
    """Called with each of them."""
    total: int = 0
    shown: list[str] = field(default_factory=list)
    files: int = 0
    """Files among them that could not be read to their end: nobody knows how many rows are missing."""
    _last: str = ""

    def add(self, source: Source, error: RowError, row: dict[str, Any] | None = None) -> None:
        """Note one bad row."""
        self.total += 1
        self.files += isinstance(error, FileError)
        if len(self.shown) < SHOWN:
            # A message is short: one problem of a whole file must not push another out of it.
            said = str(error)
            self.shown.append(f"{source}: {'the same' if said == self._last else said}")
            self._last = said
        if self.keep is not None:
            self.keep(source, error, row)
