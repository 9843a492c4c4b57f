"""Rows, tokens, lengths and labels, counted exactly over all rows."""

import heapq
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, get_args

from finetune_trainer.data.item import Item
from finetune_trainer.data.problems import Source
from finetune_trainer.data.report.content import LabelCount, Lengths, LongRow, Volume
from finetune_trainer.data.report.lengths import describe_lengths
from finetune_trainer.data.split import Side

_SIDES: Final[tuple[Side, ...]] = get_args(Side)
"""In the order in which a report lists them."""

_LONGEST_SHOWN: Final = 10


@dataclass(slots=True)
class _Tally:
    rows: int = 0
    tokens: int = 0
    supervised: int = 0
    cut_rows: int = 0
    cut_tokens: int = 0
    lengths: Counter[int] = field(default_factory=Counter)
    labels: Counter[int] = field(default_factory=Counter)

    def take_in(self, other: "_Tally") -> None:
        for name in ("rows", "tokens", "supervised", "cut_rows", "cut_tokens"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.lengths.update(other.lengths)
        self.labels.update(other.labels)


class Volumes:
    """What there is on each side, by data set."""

    def __init__(self) -> None:
        self._tallies: defaultdict[tuple[Side, int], _Tally] = defaultdict(_Tally)
        self._longest: list[tuple[int, int, Side, Source]] = []

    def add(self, side: Side, dataset: int, source: Source, items: Sequence[Item], order: int) -> None:
        """Count one row and the items made from it."""
        tally = self._tallies[side, dataset]
        tokens = cut = 0
        for item in items:
            cut += item.cut
            for sequence in item.sequences:
                length = len(sequence.token_ids)
                tokens += length
                tally.supervised += sequence.targets
                tally.lengths[length] += 1
            if item.label >= 0:
                tally.labels[item.label] += 1
        tally.rows += 1
        tally.tokens += tokens
        if cut:
            tally.cut_rows += 1
            tally.cut_tokens += cut
        self._remember_if_long((tokens + cut, -order, side, source))

    def take_in(self, other: "Volumes") -> None:
        """What another one has counted."""
        for key, tally in other._tallies.items():
            self._tallies[key].take_in(tally)
        for entry in other._longest:
            self._remember_if_long(entry)

    def _remember_if_long(self, entry: tuple[int, int, Side, Source]) -> None:
        """Of equally long rows the first; sources are never compared, because no two rows have the same order."""
        if len(self._longest) < _LONGEST_SHOWN:
            heapq.heappush(self._longest, entry)
        elif entry[:2] > self._longest[0][:2]:
            heapq.heapreplace(self._longest, entry)

    def sides(self) -> list[Volume]:
        """Sides that have rows."""
        return [_volume(side, "", tallies) for side in _SIDES if (tallies := self._of(side))]

    def datasets(self, names: Mapping[Side, Sequence[str]]) -> list[Volume]:
        """Data sets by side; `names` of those that a side's rows were read from, in order."""
        return [
            _volume(side, names[side][dataset], [tally])
            for (side, dataset), tally in sorted(self._tallies.items(), key=lambda each: _order(*each[0]))
        ]

    def lengths(self) -> list[Lengths]:
        """Lengths of the sequences of sides that have rows."""
        merged = {side: sum((tally.lengths for tally in self._of(side)), Counter[int]()) for side in _SIDES}
        return [describe_lengths(side, lengths) for side, lengths in merged.items() if lengths]

    def labels(self, names: Sequence[str]) -> list[LabelCount]:
        """Rows by label; `names` in the spec's order, empty where rows have none."""
        count = {side: sum((tally.labels for tally in self._of(side)), Counter[int]()) for side in _SIDES}
        return [
            LabelCount(label=name, **{side: count[side][index] for side in _SIDES}) for index, name in enumerate(names)
        ]

    def longest(self) -> list[LongRow]:
        """The ten longest rows."""
        order = sorted(self._longest, key=lambda entry: (-entry[0], -entry[1]))
        return [LongRow(side=side, place=str(source), tokens=tokens) for tokens, _, side, source in order]

    def _of(self, side: Side) -> list[_Tally]:
        return [tally for (its_side, _), tally in self._tallies.items() if its_side == side]


def _order(side: Side, dataset: int) -> tuple[int, int]:
    return _SIDES.index(side), dataset


def _volume(side: Side, name: str, tallies: Iterable[_Tally]) -> Volume:
    every = list(tallies)
    return Volume(
        side=side,
        name=name,
        rows=sum(tally.rows for tally in every),
        tokens=sum(tally.tokens for tally in every),
        supervised=sum(tally.supervised for tally in every),
        cut_rows=sum(tally.cut_rows for tally in every),
        cut_tokens=sum(tally.cut_tokens for tally in every),
    )
