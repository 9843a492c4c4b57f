"""Rows and a word-level tokenizer for tests of the data report: every number can be worked out by hand."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from finetune_api.report import Failure
from finetune_trainer.data.encode import Tokenized
from finetune_trainer.data.item import Item
from finetune_trainer.data.problems import Source
from finetune_trainer.data.report.builder import ReportBuilder
from finetune_trainer.data.report.content import DataReport
from finetune_trainer.data.report.tailor import tailor
from finetune_trainer.data.split import Repeats, Side


@dataclass(frozen=True)
class ReportedText:
    """A row as the report sees it: what is asked and what is answered."""

    source: Source
    asked: str
    answered: str

    def digest(self) -> bytes:
        return hashlib.sha256(f"{self.asked}\0{self.answered}".encode()).digest()

    def texts(self) -> Iterator[str]:
        yield self.asked
        yield self.answered


class Words:
    """One token per word, blanks kept: `decode` gives back what `encode` took."""

    def __init__(self) -> None:
        self._ids: dict[str, int] = {}
        self._words: list[str] = []

    def encode(self, text: str) -> list[int]:
        return [self._id(word) for word in text.split(" ")]

    def decode(self, token_ids: Sequence[int]) -> list[str]:
        return [self._words[token] + " " for token in token_ids]

    def _id(self, word: str) -> int:
        if word not in self._ids:
            self._ids[word] = len(self._words)
            self._words.append(word)
        return self._ids[word]


class Reporting:
    """A builder fed with texts: the prompt masked, the answer learnt."""

    def __init__(self, *, show_rows: bool = True) -> None:
        self.builder = ReportBuilder(show_rows=show_rows)
        self._show_rows = show_rows
        self.words = Words()
        self._lines = 0

    def row(
        self,
        asked: str,
        answered: str = "yes",
        *,
        side: Side = "train",
        dataset: int = 0,
        label: int = -1,
        cut: int = 0,
    ) -> Source:
        self._lines += 1
        source = Source(f"s3://team/{side}-{dataset}.jsonl", self._lines)
        prompt, answer = self.words.encode(asked), self.words.encode(answered)
        tokenized = Tokenized(prompt + answer, [0] * len(prompt) + [1] * len(answer), source)
        row = ReportedText(source, asked, answered)
        self.builder.row(side, dataset, row, [Item((tokenized,), label, dataset, cut)], order=self._lines)
        return source

    def finish(
        self,
        *,
        labels: Sequence[str] = (),
        names: Mapping[Side, Sequence[str]] | None = None,
        max_tokens: int | None = None,
        repeats: Repeats | None = None,
        refusal: Failure | None = None,
    ) -> DataReport:
        report = self.builder.finish(
            names=names or {"train": ["orders", "replay"], "validation": ["orders"], "test": ["held-out"]},
            labels=labels,
            max_tokens=max_tokens,
            repeats=repeats or Repeats(),
            decode=self.words.decode,
        )
        return tailor(report, about={"data": "sha256:0"}, refusal=refusal, show_rows=self._show_rows)
