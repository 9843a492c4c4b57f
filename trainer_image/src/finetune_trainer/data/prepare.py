"""From local files to prepared data: everything about the data that can go wrong goes wrong here, on a CPU.

Every row is read once, here, in order. What becomes of a batch of rows is worked out by `batch`, for large data in
other processes (`workers`), and taken up here in order again, so that processes decide nothing. Memory is bounded by a
few batches for each of them and one shard per side, whatever the size of the files. Torch is not imported.
"""

import json
from collections import Counter
from collections.abc import Callable
from functools import partial
from heapq import merge
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from finetune_api.spec.data import Data
from finetune_trainer.data.batch import BatchMaker, Made, Watch
from finetune_trainer.data.formats.base import RawRow
from finetune_trainer.data.garbage import fewer_searches
from finetune_trainer.data.problems import Problems, RowError, Source
from finetune_trainer.data.quarantine import BadRows, QuarantineFile
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
from finetune_trainer.data.workers import workers

EXAMPLE_ROWS: Final = 16
"""The most that `evaluation.fewShot` can ask for."""
Numbers = NDArray[np.int64]


class Preparation:
    """One run over all rows."""

    def __init__(
        self,
        data: Data,
        make_shape: Callable[[], Shape],
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
            make_shape: Makes what its rows are read and encoded by, in each process that does so.
            directory: Where the prepared data goes.
            max_tokens: What the shape cuts sequences to.
            test_rows: `spec.evaluation.maxRows`.
            watch: Sees every row.
            on_batch: Called between batches; may raise to stop.
            shard_bytes: Size of the files written, about; what decides the memory that is needed.

        """
        self._directory, self._max_tokens = directory, max_tokens
        self._watch, self._on_batch = watch, on_batch
        self._make_maker = partial(BatchMaker, make_shape, watch.another() if watch is not None else None)
        self._bad = QuarantineFile(directory / BAD_ROWS)
        self._problems = Problems(keep=self._keep_bad)
        self._splitter = Splitter(data)
        self._placed = dict.fromkeys(SIDES, 0)
        self._files = FileNames()
        self._writers = {side: SideWriter(directory, side, shard_bytes) for side in SIDES}
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
        reader = RowReader(meter)
        with fewer_searches(), workers(self._make_maker, files.size) as crew:
            for side in SIDES:
                crew.begin(self._splitter.begin(side))
                for batch, made in crew.make(reader.batches(side, files.side(side))):
                    self._take(side, batch, made)
                    self._on_batch(meter)
            for seen in crew.finish():
                if self._watch is not None:
                    self._watch.take_in(seen)
        self._on_batch(meter)
        return self._finish(meter)

    def _take(self, listed: Side, batch: Batch, made: Made) -> None:
        """Write what a batch has become."""
        self._note_bad(batch, made)
        self._splitter.take(listed, made.digests, made.placement)
        for place, side, number, digest in made.good:
            self._offer(side, batch, place, self._placed[side] + number, digest)
        good = Counter(side for _, side, _, _ in made.good)
        for side, rows in good.items():
            file = self._files.number(batch.sources[0])
            self._writers[side].add(made.arrays.get(side, {}), rows=rows, first=self._placed[side], file=file)
        for side in SIDES:
            self._placed[side] += made.placement.sides.count(side)

    def _note_bad(self, batch: Batch, made: Made) -> None:
        """Bad rows in the order in which they stand in the file, whoever has found them."""
        unread = [(place, source, error, None) for place, source, error in batch.unread]
        unfit = [(place, batch.sources[place], error, batch.raws[place]) for place, error in made.errors]
        # What could not be read stands before the object at its place.
        for _, source, error, raw in merge(unread, unfit, key=lambda bad: bad[0]):
            self._problems.add(source, error, raw)

    def _offer(self, side: Side, batch: Batch, place: int, number: int, digest: bytes) -> None:
        sample = self._samples[side]
        mark = order_mark(digest)
        if sample.wants(mark):
            source, raw = batch.sources[place], batch.raws[place]
            sample.offer(mark, number, lambda: _line(batch.dataset, source, raw))

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
