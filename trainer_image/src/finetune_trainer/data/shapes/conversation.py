"""Instructions and chats: one sequence per row, supervised on its answers."""

from collections.abc import Sequence
from typing import Any

from finetune_api.spec.data import Columns, Template
from finetune_trainer.data.encode import Encoder
from finetune_trainer.data.formats.base import RawRow
from finetune_trainer.data.item import Item
from finetune_trainer.data.problems import RowError, Source
from finetune_trainer.data.rows import Row, parse_row
from finetune_trainer.data.template import make_render


class ConversationShape:
    """Rows of `sft`."""

    def __init__(self, template: Template, tokenizer: Any, max_tokens: int) -> None:
        self._encoder = Encoder(tokenizer)
        self._render = make_render(template, tokenizer, self._encoder.special_tokens)
        self._max_tokens = max_tokens

    def parse(self, raw: RawRow, columns: Columns | None, source: Source) -> Row:
        """The conversation that an object holds."""
        return parse_row(raw, columns, source)

    def encode(self, rows: Sequence[Row]) -> list[list[Item] | RowError]:
        """One item per row, or why there is none."""
        return [self._encode(row) for row in rows]

    def _encode(self, row: Row) -> list[Item] | RowError:
        try:
            whole = self._encoder.encode_exchanges(self._render(self._encoder.escape(row.turns)), row.source)
            kept = self._encoder.shorten(whole, self._max_tokens)
        except RowError as error:
            return error
        return [Item((kept,), cut=len(whole.token_ids) - len(kept.token_ids))]
