"""Bad rows written aside, and the verdict on a data set that has some.

A row in quarantine is a line of `quarantine.jsonl`: where it stood, what is wrong, what to do, and the row itself. A
file that breaks off is no row: how much is missing is unknown, so it ends the job whatever `data.onBadRow` says.
"""

import json
from pathlib import Path
from typing import Any

from pydantic import Field

from finetune_api.base import Message
from finetune_api.conditions import Reason
from finetune_api.spec.data import Data
from finetune_trainer.data.problems import Problems, RowError, Source
from finetune_trainer.errors import DataError


class BadRow(Message):
    """One line of `quarantine.jsonl`."""

    file: str
    place: str
    """File and line, row or index."""
    reason: str
    remedy: str
    row: dict[str, Any] | None = None
    """The object, where one could be read."""
    text: str | None = None
    """The line, where it is no JSON."""


class BadRows(Message):
    """All of them in short, kept with the prepared data: every job that uses it judges by its own settings."""

    total: int = 0
    files: int = 0
    """Files that could not be read to their end."""
    shown: list[str] = Field(default=[])
    """The first ones, as a message tells them."""

    @classmethod
    def of(cls, problems: Problems) -> "BadRows":
        """What was gathered."""
        return cls(total=problems.total, files=problems.files, shown=problems.shown)


class QuarantineFile:
    """Writes bad rows to a file as they are met; nothing is kept in memory."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w", encoding="utf-8")

    def add(self, source: Source, error: RowError, row: dict[str, Any] | None) -> None:
        """Write one."""
        line = BadRow(
            file=source.file,
            place=str(source),
            reason=error.problem,
            remedy=error.remedy,
            row=row,
            text=error.text,
        )
        # Values of Parquet that JSON has no form for (dates, say) are written as Python shows them.
        self._file.write(json.dumps(line.model_dump(exclude_none=True), default=str) + "\n")

    def close(self) -> None:
        """All is on disk."""
        self._file.close()


def refuse_bad_rows(bad: BadRows, rows: int, data: Data) -> None:
    """End the run if bad rows are more than the job puts up with; `rows` counts all rows, bad ones too.

    Raises:
        DataError: naming the first bad rows, how many there are, and the setting that decides.

    """
    if not bad.total:
        return
    repair = "repair or remove these rows, upload the file again and create the job under a new name"
    count = "1 row" if bad.total == 1 else f"{bad.total} rows"
    if data.on_bad_row == "fail":
        raise _refusal(f"{count} cannot be used", bad, f"{repair}; or set data.onBadRow to quarantine")
    if bad.files:
        what = "1 file" if bad.files == 1 else f"{bad.files} files"
        raise _refusal(f"{what} cannot be read to the end, which data.onBadRow: quarantine does not cover", bad, repair)
    if bad.total > data.max_bad_share * rows:
        share = f"{count} of {rows:,} cannot be used: {bad.total / rows:.2%}, and data.maxBadShare is"
        raise _refusal(f"{share} {data.max_bad_share:.2%}", bad, f"{repair}; or raise data.maxBadShare")


def _refusal(headline: str, bad: BadRows, advice: str) -> DataError:
    rest = bad.total - len(bad.shown)
    lines = [headline, *bad.shown, *([f"... and {rest} more"] if rest else [])]
    return DataError(reason=Reason.DATASET_INVALID, message="\n".join(lines), advice=advice)
