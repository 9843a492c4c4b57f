"""One batch, from the objects of a file to arrays: parsed, put on sides, encoded and looked through for the report.

What becomes of a batch depends on nothing but the batch and the side rule, so batches can be worked on anywhere.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, Self

from finetune_trainer.data.item import Item
from finetune_trainer.data.problems import RowError, Source
from finetune_trainer.data.rows import Row
from finetune_trainer.data.shape import Shape
from finetune_trainer.data.split import Placement, Side, SideRule
from finetune_trainer.data.store import flatten
from finetune_trainer.data.stream import Batch
from finetune_trainer.data.tensors import Arrays


class Watch(Protocol):
    """Sees every row as it goes by; the data report is made so."""

    def row(self, side: Side, dataset: int, row: Row, items: Sequence[Item], *, order: int, digest: bytes) -> None:
        """A good row, the digest of its content, and a number that is larger than those of all rows before it."""

    def bad(self, source: Source, error: RowError) -> None:
        """A bad one."""

    def another(self) -> Self:
        """An empty one like it, that sees a part of the rows somewhere else."""

    def take_in(self, other: Self) -> None:
        """What another one has seen."""


Good = tuple[int, Side, int, bytes]
"""A row that became items: its place among the batch's objects, its side, its number among the batch's rows of that
side (from 0), and its digest."""


@dataclass(frozen=True, slots=True)
class Made:
    """What has become of a batch."""

    digests: list[bytes]
    """Of the rows that could be parsed."""
    placement: Placement
    """Of the same rows."""
    good: list[Good]
    errors: list[tuple[int, RowError]]
    """Places of objects that cannot be used, in order, and why."""
    arrays: dict[Side, Arrays]
    """As a shard holds them, but for `files`; without sides that got nothing."""


class BatchMaker:
    """Works on batches, one after the other."""

    def __init__(self, make_shape: Callable[[], Shape], watch: Watch | None) -> None:
        self._shape, self.watch = make_shape(), watch
        self.rule: SideRule | None = None
        """Of the side whose batches come."""

    def make(self, batch: Batch) -> Made:
        """What becomes of a batch."""
        if self.rule is None:
            raise RuntimeError("no side was begun")
        rows, places, errors = self._parse(batch)
        digests = [row.digest() for row in rows]
        placement = self.rule.place(digests)
        kept = _numbered(placement.sides)
        encoded = self._shape.encode([rows[index] for index, _, _ in kept])
        good: list[Good] = []
        items: defaultdict[Side, list[tuple[int, Item]]] = defaultdict(list)
        for (index, side, number), made in zip(kept, encoded, strict=True):
            if isinstance(made, RowError):
                errors.append((places[index], made))
                continue
            if batch.dataset:
                made = [replace(item, dataset=batch.dataset) for item in made]  # noqa: PLW2901
            good.append((places[index], side, number, digests[index]))
            items[side] += [(number, item) for item in made]
            if self.watch is not None:
                order = batch.start + places[index]
                self.watch.row(side, batch.dataset, rows[index], made, order=order, digest=digests[index])
        errors.sort(key=lambda each: each[0])
        return Made(digests, placement, good, errors, {side: flatten(each) for side, each in items.items() if each})

    def _parse(self, batch: Batch) -> tuple[list[Row], list[int], list[tuple[int, RowError]]]:
        parse, columns = self._shape.parse, batch.columns
        rows, places, errors = [], [], []
        for place, (source, raw) in enumerate(zip(batch.sources, batch.raws, strict=True)):
            try:
                rows.append(parse(raw, columns, source))
                places.append(place)
            except RowError as error:
                errors.append((place, error))
        return rows, places, errors


def _numbered(sides: Sequence[Side | None]) -> list[tuple[int, Side, int]]:
    """Rows that are on a side: index, side, and number among those of the side."""
    counts: Counter[Side] = Counter()
    kept = []
    for index, side in enumerate(sides):
        if side is not None:
            kept.append((index, side, counts[side]))
            counts[side] += 1
    return kept
