"""How the rows of an objective are read, and what they become: the seam between files and token ids."""

from collections.abc import Sequence
from typing import Protocol

from finetune_api.spec.data import Columns
from finetune_trainer.data.formats.base import RawRow
from finetune_trainer.data.item import Item
from finetune_trainer.data.problems import RowError, Source
from finetune_trainer.data.rows import Row


class Shape(Protocol):
    """One objective's rows."""

    def parse(self, raw: RawRow, columns: Columns | None, source: Source) -> Row:
        """The row that an object holds.

        Raises:
            RowError: what is wrong with it, and the remedy.

        """

    def encode(self, rows: Sequence[Row]) -> list[list[Item] | RowError]:
        """What each row becomes, or why it cannot be used.

        `rows` are rows that `parse` returned, many at once, because tokenizers are fast on batches only. Raw text
        becomes several items where it is longer than `spec.data.maxTokens`; every other row one.
        """
