"""From local files to token ids: everything about the data that can go wrong goes wrong here, before a GPU is taken.

Preflight and training both call `prepare` on the same bytes and get the same result. Torch is not imported.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from finetune_api.conditions import Reason
from finetune_api.report import DataSummary
from finetune_api.spec.data import Data, Dataset
from finetune_trainer.data.encode import Encoder, Tokenized
from finetune_trainer.data.item import Item
from finetune_trainer.data.problems import Problems, RowError
from finetune_trainer.data.read import read_rows
from finetune_trainer.data.rows import Row, parse_row
from finetune_trainer.data.split import split_rows
from finetune_trainer.data.template import Render, make_render
from finetune_trainer.errors import DataError

LocalFiles = list[tuple[str, Path]]
"""Files of one data set in order: the name the user knows (URI) and where its copy lies."""


Piece = TypeVar("Piece", Row, Tokenized)


@dataclass(frozen=True, slots=True)
class DatasetFiles:
    """The data sets of `spec.data`, fetched."""

    train: list[tuple[Dataset, LocalFiles]]
    validation: list[tuple[Dataset, LocalFiles]] = field(default_factory=list)
    test: list[tuple[Dataset, LocalFiles]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Prepared:
    """The data, ready for training and evaluation."""

    train: list[Item]
    validation: list[Item]
    test: list[Item]
    """Rows to compare base and tuned model on."""
    test_rows: list[Row]
    """The same rows as they were read; `prompts.make_prompts` turns them into prompts."""
    examples: list[Row]
    """Training rows, from which worked examples for few-shot prompts are chosen."""
    encoder: Encoder
    render: Render
    max_tokens: int
    """Rows are cut to this length."""
    longest_row: int
    truncated_rows: int
    left_out_rows: int
    """Rows of listed data sets left out because they are test (or validation) rows too."""

    def summary(self, digest: str) -> DataSummary:
        """What is known about the data; `digest` is that of its files."""
        return DataSummary(
            digest=digest,
            train_rows=len(self.train),
            validation_rows=len(self.validation),
            test_rows=len(self.test),
            train_tokens=sum(item.length for item in self.train),
            supervised_tokens=sum(sequence.targets for item in self.train for sequence in item.sequences),
            longest_row=self.longest_row,
            truncated_rows=self.truncated_rows,
            left_out_rows=self.left_out_rows,
        )


def prepare(data: Data, files: DatasetFiles, tokenizer: Any) -> Prepared:
    """Read, split, render and encode all rows; `tokenizer` is a fast tokenizer of transformers.

    Raises:
        DataError: rows that cannot be used (the first ten named, with the total), or a side without rows.
        SettingsError: the tokenizer lacks what the template needs.

    """
    max_tokens = data.max_tokens or 1024
    problems = Problems()
    listed = {name: _read_side(name, getattr(files, name), problems) for name in ("train", "validation", "test")}
    problems.raise_if_any()
    sides = split_rows(listed["train"], listed["validation"], listed["test"], data.split)
    encoder = Encoder(tokenizer)
    render = make_render(data.template, tokenizer, encoder.special_tokens)

    def encode(rows: list[Row]) -> list[Tokenized]:
        return _encode_all(rows, encoder, render, problems)

    def shorten(rows: list[Tokenized]) -> list[Tokenized]:
        return _shorten_all(rows, encoder, max_tokens, problems)

    whole = encode(sides.train)
    train, validation, test = shorten(whole), shorten(encode(sides.validation)), shorten(encode(sides.test))
    problems.raise_if_any()
    return Prepared(
        train=[Item((row,)) for row in train],
        validation=[Item((row,)) for row in validation],
        test=[Item((row,)) for row in test],
        test_rows=sides.test,
        examples=sides.train,
        encoder=encoder,
        render=render,
        max_tokens=max_tokens,
        longest_row=max(len(row.token_ids) for row in whole),
        truncated_rows=sum(len(row.token_ids) > max_tokens for row in whole),
        left_out_rows=sides.left_out,
    )


def _read_side(name: str, datasets: list[tuple[Dataset, LocalFiles]], problems: Problems) -> list[Row]:
    rows: list[Row] = []
    for dataset, files in datasets:
        before = len(rows) + problems.total
        for label, path in files:
            rows += _read_file(label, path, dataset, problems)
        if len(rows) + problems.total == before:
            raise DataError(
                reason=Reason.DATASET_EMPTY,
                message=f"data.{name}: {dataset.uri} holds no rows",
                advice="upload the rows or remove the data set from the job",
            )
    return rows


def _read_file(label: str, path: Path, dataset: Dataset, problems: Problems) -> list[Row]:
    rows = []
    for source, raw in read_rows(label, path, problems):
        try:
            rows.append(parse_row(raw, dataset.columns, source))
        except RowError as error:
            problems.add(source, error)
    return rows


def _encode_all(rows: list[Row], encoder: Encoder, render: Render, problems: Problems) -> list[Tokenized]:
    def encode(row: Row) -> Tokenized:
        return encoder.encode_exchanges(render(encoder.escape(row.turns)), row.source)

    return _each(rows, encode, problems)


def _shorten_all(rows: list[Tokenized], encoder: Encoder, max_tokens: int, problems: Problems) -> list[Tokenized]:
    return _each(rows, lambda row: encoder.shorten(row, max_tokens), problems)


def _each(items: list[Piece], change: Callable[[Piece], Tokenized], problems: Problems) -> list[Tokenized]:
    changed = []
    for item in items:
        try:
            changed.append(change(item))
        except RowError as error:
            problems.add(item.source, error)
    return changed
