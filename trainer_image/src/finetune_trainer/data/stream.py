"""Rows of many files in batches: large enough for a tokenizer, small enough for memory."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from finetune_api.conditions import Reason
from finetune_api.spec.data import Columns, Dataset
from finetune_trainer.data.formats.base import RawRow
from finetune_trainer.data.problems import Problems, RowError, Source
from finetune_trainer.data.read import read_rows
from finetune_trainer.data.split import Side
from finetune_trainer.errors import DataError

LocalFiles = list[tuple[str, Path]]
"""Files of one data set in order: the name the user knows (URI) and where its copy lies."""

BATCH_ROWS: Final = 1024
BATCH_CHARACTERS: Final = 2 << 20
"""A batch ends with the row that reaches either."""


@dataclass(frozen=True, slots=True)
class DatasetFiles:
    """The data sets of `spec.data`, fetched."""

    train: list[tuple[Dataset, LocalFiles]]
    validation: list[tuple[Dataset, LocalFiles]] = field(default_factory=list)
    test: list[tuple[Dataset, LocalFiles]] = field(default_factory=list)

    def side(self, side: Side) -> list[tuple[Dataset, LocalFiles]]:
        """The data sets listed for a side."""
        found: list[tuple[Dataset, LocalFiles]] = getattr(self, side)
        return found

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(
            path.stat().st_size
            for datasets in (self.train, self.validation, self.test)
            for _, files in datasets
            for _, path in files
        )


@dataclass(slots=True)
class Meter:
    """How far reading has come."""

    total: int
    """Bytes of all files."""
    done: int = 0
    rows: int = 0
    """Rows read, bad ones too."""

    def add(self, count: int) -> None:
        """Bytes were read."""
        self.done += count


Unread = tuple[int, Source, RowError]
"""What could not be read: how many objects of the batch stand before it, where it stands, and why."""


@dataclass(slots=True)
class Batch:
    """Objects of one file as they were read."""

    dataset: int
    """Index of their data set in its list."""
    columns: Columns | None
    """Of that data set."""
    start: int
    """How many objects were read before them."""
    sources: list[Source] = field(default_factory=list)
    raws: list[RawRow] = field(default_factory=list)
    unread: list[Unread] = field(default_factory=list)
    characters: int = 0

    @property
    def is_full(self) -> bool:
        """Whether it should be worked on before more is read."""
        return len(self.raws) + len(self.unread) >= BATCH_ROWS or self.characters >= BATCH_CHARACTERS


class RowReader:
    """Reads files, and counts what it reads."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter

    def batches(self, side: Side, datasets: list[tuple[Dataset, LocalFiles]]) -> Iterator[Batch]:
        """All objects that a side lists, in order.

        Raises:
            DataError: a data set holds no rows.

        """
        meter = self._meter
        for index, (dataset, files) in enumerate(datasets):
            before = meter.rows
            for label, path in files:
                done = meter.done
                yield from self._file(label, path, index, dataset.columns)
                meter.done = done + path.stat().st_size
            if meter.rows == before:
                raise DataError(
                    reason=Reason.DATASET_EMPTY,
                    message=f"data.{side}: {dataset.uri} holds no rows",
                    advice="upload the rows or remove the data set from the job",
                )

    def _file(self, label: str, path: Path, index: int, columns: Columns | None) -> Iterator[Batch]:
        meter = self._meter
        batch = Batch(index, columns, meter.rows)

        def keep_unread(source: Source, error: RowError, _raw: RawRow | None) -> None:
            meter.rows += 1
            batch.unread.append((len(batch.raws), source, error))

        for source, raw in read_rows(label, path, Problems(keep=keep_unread), on_bytes=meter.add):
            meter.rows += 1
            batch.sources.append(source)
            batch.raws.append(raw)
            batch.characters += _characters(raw)
            if batch.is_full:
                yield batch
                batch = Batch(index, columns, meter.rows)
        if batch.raws or batch.unread:
            yield batch


def _characters(value: Any) -> int:
    """Characters of all texts in an object, about."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, list):
        return 1
    count = 0
    for each in value:
        count += len(each) if type(each) is str else _characters(each)
    return count
