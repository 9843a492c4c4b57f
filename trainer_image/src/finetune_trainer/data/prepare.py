"""From local files to prepared data: everything about the data that can go wrong goes wrong here, on a CPU.

Every row is read once. While a batch is encoded in one thread (tokenizers let go of Python's lock), the next one is
read and parsed in another; what has become of a batch is taken up in order, so that threads decide nothing. Memory is
bounded by three batches and one shard per side, whatever the size of the files. Torch is not imported.
"""

import json
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from finetune_api.spec.data import Data
from finetune_trainer.data.formats.base import RawRow
from finetune_trainer.data.garbage import fewer_searches
from finetune_trainer.data.item import Item
from finetune_trainer.data.problems import Problems, RowError, Source
from finetune_trainer.data.quarantine import BadRows, QuarantineFile
from finetune_trainer.data.rows import Row
from finetune_trainer.data.sample import Sample, order_mark
from finetune_trainer.data.shape import Shape
from finetune_trainer.data.split import SIDES, Side, Splitter
from finetune_trainer.data.store import SHARD_BYTES, FileNames, SideWriter
from finetune_trainer.data.store_index import (
    BAD_ROWS,
    CHOSEN,
    EXAMPLES,
    INDEX,
    TEST_ROWS,
    VALIDATION_ROWS,
    SideIndex,
    StoreIndex,
)
from finetune_trainer.data.stream import Batch, DatasetFiles, Meter, RowReader
from finetune_trainer.data.tensors import map_arrays, write_arrays

EXAMPLE_ROWS: Final = 16
"""The most that `evaluation.fewShot` can ask for."""
_ENCODERS: Final = 2
"""While one batch is in the tokenizer, which lets go of Python's lock and takes all cores, another is rendered."""
_AHEAD: Final = 2
"""Batches that may wait for the encoders."""

Encoded = list[list[Item] | RowError]
Numbers = NDArray[np.int64]


class Watch(Protocol):
    """Sees every row as it goes by; the data report is made so."""

    def row(self, side: Side, dataset: int, row: Row, items: Sequence[Item], *, digest: bytes) -> None:
        """A good row, and the digest of its content."""

    def bad(self, source: Source, error: RowError) -> None:
        """A bad one."""


@dataclass(frozen=True, slots=True)
class _Placed:
    """A batch on its way through the encoder: rows that are left out are gone from it."""

    dataset: int
    rows: list[Row]
    raws: list[RawRow]
    digests: list[bytes]
    sides: list[Side]
    numbers: list[int]
    """Of each row among those of its side."""


class Preparation:
    """One run over all rows."""

    def __init__(
        self,
        data: Data,
        shape: Shape,
        directory: Path,
        *,
        max_tokens: int,
        test_rows: int,
        watch: Watch | None = None,
        on_batch: Callable[[Meter], None] = lambda _meter: None,
        shard_bytes: int = SHARD_BYTES,
    ) -> None:
        """Get ready to prepare data in an empty directory.

        Args:
            data: What the spec says of the data.
            shape: How its rows are read and encoded.
            directory: Where the prepared data goes.
            max_tokens: What `shape` cuts sequences to.
            test_rows: `spec.evaluation.maxRows`.
            watch: Sees every row.
            on_batch: Called between batches; may raise to stop.
            shard_bytes: Size of the files written, about; what decides the memory that is needed.

        """
        self._shape, self._directory, self._max_tokens = shape, directory, max_tokens
        self._watch, self._on_batch = watch, on_batch
        self._bad = QuarantineFile(directory / BAD_ROWS)
        self._problems = Problems(keep=self._keep_bad)
        self._splitter = Splitter(data)
        self._placed = dict.fromkeys(SIDES, 0)
        self._files = FileNames()
        self._writers = {side: SideWriter(directory, side, self._files, shard_bytes) for side in SIDES}
        self._samples = {
            "train": Sample(directory / "examples.part", EXAMPLE_ROWS, distinct=True),
            "validation": Sample(directory / "validation.part", test_rows),
            "test": Sample(directory / "tests.part", test_rows),
        }

    def run(self, files: DatasetFiles) -> StoreIndex:
        """Read, split and encode all rows. Bad ones are counted and kept aside; the caller judges.

        Raises:
            DataError: a data set holds no rows.

        """
        meter = Meter(files.size)
        reader = RowReader(self._shape, self._problems, meter)
        under_way: deque[tuple[_Placed, Future[Encoded]]] = deque()
        with fewer_searches(), ThreadPoolExecutor(_ENCODERS) as encoders:
            for side in SIDES:
                self._splitter.begin(side)
                for batch in reader.batches(side, files.side(side)):
                    placed = self._place(side, batch)
                    under_way.append((placed, encoders.submit(self._shape.encode, placed.rows)))
                    if len(under_way) > _AHEAD:
                        self._take(*under_way.popleft())
                    self._on_batch(meter)
            while under_way:
                self._take(*under_way.popleft())
        self._on_batch(meter)
        return self._finish(meter)

    def _place(self, listed: Side, batch: Batch) -> _Placed:
        digests = [row.digest() for row in batch.rows]
        placed = _Placed(batch.dataset, [], [], [], [], [])
        sides = self._splitter.place(listed, digests)
        for row, raw, digest, side in zip(batch.rows, batch.raws, digests, sides, strict=True):
            if side is None:
                continue
            placed.rows.append(row)
            placed.raws.append(raw)
            placed.digests.append(digest)
            placed.sides.append(side)
            placed.numbers.append(self._placed[side])
            self._placed[side] += 1
        return placed

    def _take(self, batch: _Placed, encoded: "Future[Encoded]") -> None:
        """Write what a batch has become."""
        good: dict[Side, list[tuple[int, list[Item]]]] = {side: [] for side in SIDES}
        for place, items in enumerate(encoded.result()):
            row, side = batch.rows[place], batch.sides[place]
            if isinstance(items, RowError):
                self._problems.add(row.source, items, batch.raws[place])
                continue
            if batch.dataset:
                items = [replace(item, dataset=batch.dataset) for item in items]  # noqa: PLW2901
            good[side].append((batch.numbers[place], items))
            self._offer(side, batch, place)
            if self._watch is not None:
                self._watch.row(side, batch.dataset, row, items, digest=batch.digests[place])
        for side, rows in good.items():
            self._writers[side].add(rows)

    def _offer(self, side: Side, batch: _Placed, place: int) -> None:
        sample = self._samples[side]
        mark = order_mark(batch.digests[place])
        if sample.wants(mark):
            source, raw = batch.rows[place].source, batch.raws[place]
            sample.offer(mark, batch.numbers[place], lambda: _line(batch.dataset, source, raw))

    def _keep_bad(self, source: Source, error: RowError, row: RawRow | None) -> None:
        self._bad.add(source, error, row)
        if self._watch is not None:
            self._watch.bad(source, error)

    def _finish(self, meter: Meter) -> StoreIndex:
        self._bad.close()
        sides = {side: writer.finish() for side, writer in self._writers.items()}
        self._samples["train"].write(self._directory / EXAMPLES)
        self._samples["validation"].write(self._directory / VALIDATION_ROWS)
        tested = np.array(self._samples["test"].write(self._directory / TEST_ROWS), np.int64)
        chosen = {"test": _positions(self._directory, sides["test"], tested)[0]}
        dropped = self._splitter.dropped_validation()
        if dropped.any():
            kept, rows = _positions(self._directory, sides["validation"], np.flatnonzero(~dropped))
            chosen["validation"] = kept
            sides["validation"] = sides["validation"].model_copy(update={"rows": rows})
        write_arrays(self._directory / CHOSEN, chosen)
        index = StoreIndex(
            **sides,
            files=self._files.named,
            rows_read=meter.rows,
            repeats=self._splitter.repeats(),
            bad=BadRows.of(self._problems),
            max_tokens=self._max_tokens,
        )
        (self._directory / INDEX).write_text(index.model_dump_json(indent=1))
        return index


def _line(dataset: int, source: Source, raw: RawRow) -> bytes:
    """A row as it is kept for evaluation: enough to parse it again. Read back by `prepared.Prepared`."""
    place: dict[str, Any] = {"dataset": dataset, "file": source.file, "number": source.number, "unit": source.unit}
    # A value that JSON has no form for stands in a column that is not used: parsing takes text and numbers alone.
    return json.dumps({**place, "row": raw}, default=str).encode()


def _positions(directory: Path, side: SideIndex, rows: Numbers) -> tuple[Numbers, int]:
    """Positions of the items of some rows among all items of a side, and how many of the rows have items."""
    found, start, met = [np.empty(0, np.int64)], 0, 0
    for shard in side.shards:
        numbers = map_arrays(directory / shard)["rows"]
        places = np.flatnonzero(np.isin(numbers, rows))
        found.append(places + start)
        start += len(numbers)
        met += len(np.unique(numbers[places]))  # a shard ends between rows
    return np.concatenate(found), met
