"""What `store.json` says of prepared data: its files and its numbers."""

from typing import Final, Literal

from pydantic import Field

from finetune_api.base import Message
from finetune_api.report import DataSummary
from finetune_trainer.data.problems import Unit
from finetune_trainer.data.quarantine import BadRows
from finetune_trainer.data.split import Repeats, Side

INDEX: Final = "store.json"
TEST_ROWS: Final = "test_rows.jsonl"
VALIDATION_ROWS: Final = "validation_rows.jsonl"
"""Some of them are left out of `chosen.safetensors`, where they have turned out to be test rows."""
EXAMPLES: Final = "examples.jsonl"
BAD_ROWS: Final = "bad_rows.jsonl"
CHOSEN: Final = "chosen.safetensors"
REPORT: Final = "data_report.json"
SMALL: Final = (INDEX, TEST_ROWS, VALIDATION_ROWS, EXAMPLES, BAD_ROWS, REPORT)
"""All that preflight needs of a store."""


class SideIndex(Message):
    """One side of the split."""

    shards: list[str] = Field(default=[])
    """Files of items, in order."""
    rows: int = 0
    """Rows, which may be several items each (raw text)."""
    items: int = 0
    """In the shards; `chosen.safetensors` may leave some out."""
    tokens: int = 0
    supervised: int = 0
    """Supervised tokens that can be predicted."""
    longest: int = 0
    """Tokens of the longest sequence, before any cut."""
    largest: int = 0
    """Tokens of the largest item, over all its sequences, as training sees it."""
    cut_rows: int = 0
    """Rows that lost tokens to the limit."""
    dataset_items: list[int] = Field(default=[])
    """Items of each data set, by its index."""
    dataset_tokens: list[int] = Field(default=[])
    """Likewise tokens."""


class NamedFile(Message):
    """A data file, as messages name it."""

    label: str
    unit: Unit
    """How its rows are counted."""


class StoreIndex(Message):
    """The whole store."""

    schema_version: Literal["1"] = "1"
    train: SideIndex
    validation: SideIndex
    test: SideIndex
    files: list[NamedFile]
    rows_read: int
    """Of all data sets, bad ones too."""
    repeats: Repeats
    bad: BadRows
    max_tokens: int
    """Sequences were cut to this length."""

    def side(self, side: Side) -> SideIndex:
        """One side's numbers."""
        index: SideIndex = getattr(self, side)
        return index

    @property
    def longest(self) -> int:
        """Tokens of the longest sequence that training or evaluation sees, after cutting."""
        return min(self.max_tokens, max(self.train.longest, self.validation.longest, self.test.longest))

    def summary(self, digest: str, report_uri: str | None = None) -> DataSummary:
        """What is known about the data; `digest` is that of its files."""
        return DataSummary(
            digest=digest,
            train_rows=self.train.rows,
            validation_rows=self.validation.rows,
            test_rows=self.test.rows,
            train_tokens=self.train.tokens,
            supervised_tokens=self.train.supervised,
            longest_row=self.train.longest,
            truncated_rows=self.train.cut_rows,
            left_out_rows=self.repeats.left_out,
            bad_rows=self.bad.total,
            duplicate_rows=self.repeats.duplicates.get("train", 0),
            report_uri=report_uri,
        )
