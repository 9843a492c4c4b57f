"""`continued-pretraining`: raw text, every token of it supervised, cut into pieces that fit.

A document is encoded as the tokenizer encodes text, with its beginning-of-sequence token where it adds one, and ends
with the end-of-sequence token. The pieces of a long one are equally long, so that none is too short to teach anything.
"""

from collections.abc import Sequence
from typing import cast

import numpy as np

from finetune_api.conditions import Reason
from finetune_api.spec.data import Columns
from finetune_trainer.data.columns import RECOGNISED, as_text, find_column, missing_column
from finetune_trainer.data.encode import Encoder, Tokenized
from finetune_trainer.data.formats.base import RawRow
from finetune_trainer.data.item import Item
from finetune_trainer.data.problems import RowError, Source
from finetune_trainer.data.rows import Row, Text
from finetune_trainer.errors import SettingsError


class TextShape:
    """Rows of `continued-pretraining`."""

    def __init__(self, encoder: Encoder, max_tokens: int) -> None:
        """Get ready.

        Raises:
            SettingsError: the tokenizer has no token to end a document with.

        """
        self._encoder, self._max_tokens = encoder, max_tokens
        tokenizer = encoder.tokenizer
        if tokenizer.eos_token_id is None:
            raise SettingsError(
                reason=Reason.MODEL_INVALID,
                message="the tokenizer has no end-of-sequence token",
                advice="set eos_token in tokenizer_config.json",
            )
        self._start = [tokenizer.bos_token_id] if encoder.adds_bos else []
        self._end = [tokenizer.eos_token_id]

    def parse(self, raw: RawRow, columns: Columns | None, source: Source) -> Text:
        """The text that an object holds."""
        return parse_text(raw, columns, source)

    def encode(self, rows: Sequence[Row]) -> list[list[Item] | RowError]:
        """As many items per row as its text needs."""
        texts = cast("Sequence[Text]", rows)
        encoded = self._encoder.encode_all([self._encoder.escape_text(row.text) for row in texts])
        return [self._pieces(row, ids) for row, ids in zip(texts, encoded, strict=True)]

    def _pieces(self, row: Text, ids: list[int]) -> list[Item] | RowError:
        if not ids:
            return RowError("the tokenizer makes nothing of the text", "remove the row")
        whole = np.array([*self._start, *ids, *self._end], np.int32)
        pieces = np.array_split(whole, -(-len(whole) // self._max_tokens))
        return [Item((Tokenized(piece, np.ones(len(piece), np.float32), row.source),)) for piece in pieces]


def parse_text(raw: RawRow, columns: Columns | None, source: Source) -> Text:
    """The text that an object holds.

    Raises:
        RowError: there is none.

    """
    names = columns or Columns()
    column = find_column(raw, names, "text")
    if column is None:
        error = missing_column(raw, "text", names.text, RECOGNISED["text"])
        raise RowError(error.problem, f"{error.remedy}, or set objective.type to sft where rows ask for answers")
    return Text(as_text(raw[column], column), source)
