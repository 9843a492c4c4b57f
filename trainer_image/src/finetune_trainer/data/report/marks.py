"""Rows marked by odd characters or by what looks like personal data: counts and first places, over all rows."""

from dataclasses import dataclass
from typing import get_args

from finetune_trainer.data.problems import Source
from finetune_trainer.data.report.content import Oddity, OddityKind, Pii, PiiKind
from finetune_trainer.data.report.oddities import find_oddities
from finetune_trainer.data.report.outline import outline
from finetune_trainer.data.report.pii import count_pii


@dataclass(slots=True)
class _Mark:
    order: int
    first: Source
    rows: int = 0
    matches: int = 0

    def take_in(self, other: "_Mark") -> None:
        if other.order < self.order:
            self.order, self.first = other.order, other.first
        self.rows += other.rows
        self.matches += other.matches


class Marks:
    """Counts of both; the strings themselves are dropped at once."""

    def __init__(self) -> None:
        self._oddities: dict[OddityKind, _Mark] = {}
        self._pii: dict[PiiKind, _Mark] = {}

    def add(self, text: str, source: Source, order: int) -> None:
        """Look through one row's text; rows come in order."""
        seen = outline(text)
        for odd in find_oddities(text, seen):
            self._oddities.setdefault(odd, _Mark(order, source)).rows += 1
        for kind, count in count_pii(text, seen).items():
            mark = self._pii.setdefault(kind, _Mark(order, source))
            mark.rows += 1
            mark.matches += count

    def take_in(self, other: "Marks") -> None:
        """What another one has counted."""
        for odd, mark in other._oddities.items():
            self._oddities.setdefault(odd, _Mark(mark.order, mark.first)).take_in(mark)
        for kind, mark in other._pii.items():
            self._pii.setdefault(kind, _Mark(mark.order, mark.first)).take_in(mark)

    def oddities(self) -> list[Oddity]:
        """Kinds that were met, in the order of their definition."""
        return [
            Oddity(kind=kind, rows=mark.rows, first=str(mark.first))
            for kind in get_args(OddityKind)
            if (mark := self._oddities.get(kind))
        ]

    def pii(self) -> list[Pii]:
        """Kinds that were met, in the order of their definition."""
        return [
            Pii(kind=kind, rows=mark.rows, matches=mark.matches, first=str(mark.first))
            for kind in get_args(PiiKind)
            if (mark := self._pii.get(kind))
        ]
