"""`sft`: one sequence per conversation, supervised on its answers."""

from collections.abc import Sequence
from typing import cast

from finetune_api.spec.data import Columns
from finetune_trainer.data.dialogue import Dialogue
from finetune_trainer.data.formats.base import RawRow
from finetune_trainer.data.instruction import parse_conversation
from finetune_trainer.data.item import Item
from finetune_trainer.data.problems import RowError, Source
from finetune_trainer.data.rows import Conversation, Row


class ConversationShape:
    """Rows of `sft`."""

    def __init__(self, dialogue: Dialogue, max_tokens: int) -> None:
        self._dialogue, self._max_tokens = dialogue, max_tokens

    def parse(self, raw: RawRow, columns: Columns | None, source: Source) -> Conversation:
        """The conversation that an object holds."""
        return parse_conversation(raw, columns, source)

    def encode(self, rows: Sequence[Row]) -> list[list[Item] | RowError]:
        """One item per row, without the start of its prompt where it is too long."""
        return encode_conversations(cast("Sequence[Conversation]", rows), self._dialogue, self._max_tokens)


def encode_conversations(
    rows: Sequence[Conversation], dialogue: Dialogue, max_tokens: int
) -> list[list[Item] | RowError]:
    """One item per conversation, without the start of its prompt where it is too long, or why there is none."""
    items: list[list[Item] | RowError] = []
    for row, said in zip(rows, dialogue.encode([row.turns for row in rows]), strict=True):
        try:
            if isinstance(said, RowError):
                raise said
            kept = said.shortened(max_tokens, dialogue.bos_id)
        except RowError as error:
            items.append(error)
        else:
            cut = len(said.token_ids) - len(kept.token_ids)
            items.append([Item((kept.tokenized(row.source),), cut=cut)])
    return items
