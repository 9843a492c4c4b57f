"""Bad rows, gathered so that a user repairs a data set in one go instead of one row per run."""

from dataclasses import dataclass, field
from typing import Final, Literal

from finetune_api.conditions import Reason
from finetune_trainer.errors import DataError

SHOWN: Final = 10
"""Bad rows that a message spells out; the rest are counted."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where a row comes from, as a user finds it."""

    file: str
    number: int | None = None
    """None: the file as a whole."""
    unit: Literal["line", "row", "index"] = "line"
    """Lines and rows (of Parquet) count from 1; an index into a JSON array from 0, as every language does."""

    def __str__(self) -> str:
        if self.number is None:
            return self.file
        if self.unit == "index":
            return f"{self.file}[{self.number}]"
        return f"{self.file}:{self.number}" if self.unit == "line" else f"{self.file} row {self.number}"


class RowError(ValueError):
    """One row cannot be used: what is wrong with it, and the remedy."""

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(f"{problem}; {remedy}")
        self.problem, self.remedy = problem, remedy


class FileError(RowError):
    """From `source` on, a file cannot be read: what follows would be a guess."""

    def __init__(self, source: Source, problem: str, remedy: str) -> None:
        super().__init__(problem, remedy)
        self.source = source


@dataclass(slots=True)
class Problems:
    """Bad rows met so far, over all files."""

    total: int = 0
    shown: list[str] = field(default_factory=list)

    def add(self, source: Source, error: RowError) -> None:
        """Note one bad row."""
        self.total += 1
        if len(self.shown) < SHOWN:
            self.shown.append(f"{source}: {error}")

    def raise_if_any(self) -> None:
        """End the run if a row was bad.

        Raises:
            DataError: naming the first bad rows and how many there are.

        """
        if not self.total:
            return
        rows = "1 row" if self.total == 1 else f"{self.total} rows"
        rest = self.total - len(self.shown)
        lines = [f"{rows} cannot be used", *self.shown, *([f"... and {rest} more"] if rest else [])]
        raise DataError(
            reason=Reason.DATASET_INVALID,
            message="\n".join(lines),
            advice="repair or remove these rows, upload the file again and create the job under a new name",
        )
