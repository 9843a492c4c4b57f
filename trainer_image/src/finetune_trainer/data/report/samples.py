"""What is too dear for every row: near copies, languages, and rows to show."""

from collections.abc import Mapping, Sequence
from typing import Final

from finetune_trainer.data.item import Item
from finetune_trainer.data.problems import Source
from finetune_trainer.data.report.content import Languages, NearDuplicates, NearSearch, ShownRow
from finetune_trainer.data.report.languages import EXCERPT, guess_languages
from finetune_trainer.data.report.near import THRESHOLD, Matches, Signed, find_copies, signature
from finetune_trainer.data.report.runs import Decode, runs_of
from finetune_trainer.data.report.sample import HashSample
from finetune_trainer.data.split import Side

TRAIN_COMPARED: Final = 10_000
TEST_COMPARED: Final = 5_000
_GUESSED: Final = 1_000
_SHOWN: Final = 3


class Samples:
    """Bounded samples of the rows that stream by."""

    def __init__(self, *, show_rows: bool) -> None:
        self._compared: dict[Side, HashSample[Signed]] = {
            "train": HashSample(TRAIN_COMPARED),
            "test": HashSample(TEST_COMPARED),
        }
        self._excerpts: HashSample[str] = HashSample(_GUESSED)
        self._shown: HashSample[tuple[Source, Sequence[Item]]] | None = HashSample(_SHOWN) if show_rows else None

    def add(self, side: Side, source: Source, text: str, items: Sequence[Item], *, digest: bytes, order: int) -> None:
        """Take the row in where its digest is small enough."""
        compared = self._compared.get(side)
        if compared and compared.wants(digest):
            compared.add(digest, Signed(source, signature(text)), order)
        if self._excerpts.wants(digest):
            self._excerpts.add(digest, text[:EXCERPT], order)
        if self._shown and side == "train" and self._shown.wants(digest):
            self._shown.add(digest, (source, items), order)

    def take_in(self, other: "Samples") -> None:
        """What another one has kept."""
        for side, compared in self._compared.items():
            compared.take_in(other._compared[side])
        self._excerpts.take_in(other._excerpts)
        if self._shown is not None and other._shown is not None:
            self._shown.take_in(other._shown)

    def near(self, different: Mapping[Side, int]) -> NearDuplicates:
        """Near copies; `different` rows there are on each side, exact copies counted once."""
        train, test = self._compared["train"].rows(), self._compared["test"].rows()
        within, across = find_copies(train, test)
        return NearDuplicates(
            threshold=THRESHOLD,
            train=_search(different.get("train", 0), len(train), within),
            test=_search(different.get("test", 0), len(test), across),
        )

    def languages(self) -> Languages | None:
        """A guess; None where there are no rows."""
        excerpts = self._excerpts.rows()
        return guess_languages(excerpts) if excerpts else None

    def shown(self, decode: Decode, labels: Sequence[str]) -> list[ShownRow] | None:
        """Three training rows as the model sees them; None where text is not to be shown."""
        if self._shown is None:
            return None
        return [
            ShownRow(
                place=str(source),
                sequences=[runs_of(sequence, decode) for sequence in items[0].sequences],
                pieces=len(items),
                label=labels[items[0].label] if items[0].label >= 0 else "",
            )
            for source, items in self._shown.rows()
        ]


def _search(rows: int, compared: int, matches: Matches) -> NearSearch:
    return NearSearch(rows=rows, compared=compared, found=matches.found, pairs=matches.pairs)
