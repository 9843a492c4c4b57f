"""`classification`: one sequence per text, with a label's index for a new head, or with the label as its answer.

*head*: the text is encoded as the tokenizer itself encodes it, with the special tokens that it adds and no others,
because that is what a server of classifiers does. A text that is too long loses its end, for the same reason. No token
is supervised: the head reads the state of the last one.

*generative*: a conversation in which the user says the text and the assistant the label.
"""

import difflib
from collections.abc import Sequence
from functools import lru_cache
from typing import Final, cast

import numpy as np

from finetune_api.spec.data import Columns
from finetune_trainer.data.columns import NOT_NAMED, TEXT_TO_CLASSIFY, as_text, need_column, shown
from finetune_trainer.data.dialogue import Dialogue
from finetune_trainer.data.encode import Encoder, Tokenized
from finetune_trainer.data.formats.base import RawRow
from finetune_trainer.data.formats.strict_json import json_type
from finetune_trainer.data.item import Item
from finetune_trainer.data.problems import RowError, Source
from finetune_trainer.data.rows import Labelled, Row
from finetune_trainer.data.shapes.conversation import encode_conversations

_LONGEST_LABEL: Final = 128
"""Characters; as in the spec. Longer ones are not searched for near matches."""


class LabelParser:
    """Reads labelled texts; knows the labels."""

    def __init__(self, labels: Sequence[str]) -> None:
        self.places = {label: index for index, label in enumerate(labels)}
        self._near = lru_cache(maxsize=1000)(self._find_near)

    def parse(self, raw: RawRow, columns: Columns | None, source: Source) -> Labelled:
        """The text and its label.

        Raises:
            RowError: one is missing or no text, or the label is none of the labels.

        """
        names = columns or NOT_NAMED
        text = need_column(raw, names, "text", "the text to classify", TEXT_TO_CLASSIFY)
        label = need_column(raw, names, "label", "the label")
        return Labelled(as_text(raw[text], text), self._label(raw[label], label), source)

    def _label(self, value: object, field: str) -> str:
        if isinstance(value, int) and not isinstance(value, bool):
            value = str(value) if str(value) in self.places else value
        elif not isinstance(value, str):
            raise RowError(f"field {field!r} is {json_type(value)}, not a label", f"write one of {self._all()}")
        if value in self.places:
            return str(value)
        near = self._near(str(value)[:_LONGEST_LABEL])
        meant = f"did you mean {near}? " if near else ""
        raise RowError(
            f"field {field!r} is {shown(value)}, which is not in objective.classification.labels ({self._all()})",
            f"{meant}correct it, or add it to the labels",
        )

    def _find_near(self, value: str) -> str:
        folded = {label.strip().casefold(): label for label in self.places}
        near = difflib.get_close_matches(value.strip().casefold(), folded, n=3)
        return " or ".join(repr(folded[each]) for each in near)

    def _all(self) -> str:
        names = list(self.places)
        return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


class HeadLabelShape(LabelParser):
    """Rows of classification with a new head."""

    def __init__(self, labels: Sequence[str], encoder: Encoder, max_tokens: int) -> None:
        super().__init__(labels)
        self._encoder, self._max_tokens = encoder, max_tokens
        self._before, self._after = encoder.added_around()

    def encode(self, rows: Sequence[Row]) -> list[list[Item] | RowError]:
        """One item per row, without the end of its text where it is too long."""
        labelled = cast("Sequence[Labelled]", rows)
        encoded = self._encoder.encode_all([self._encoder.escape_text(row.text) for row in labelled])
        return [self._item(row, ids) for row, ids in zip(labelled, encoded, strict=True)]

    def _item(self, row: Labelled, ids: list[int]) -> list[Item] | RowError:
        if not ids:
            return RowError("the tokenizer makes nothing of the text", "remove the row")
        room = self._max_tokens - len(self._before) - len(self._after)
        whole = np.array([*self._before, *ids[:room], *self._after], np.int32)
        sequence = Tokenized(whole, np.zeros(len(whole), np.float32), row.source)
        return [Item((sequence,), label=self.places[row.label], cut=max(0, len(ids) - room))]


class GenerativeLabelShape(LabelParser):
    """Rows of classification by a model that writes the label."""

    def __init__(self, labels: Sequence[str], dialogue: Dialogue, max_tokens: int) -> None:
        super().__init__(labels)
        self._dialogue, self._max_tokens = dialogue, max_tokens

    def encode(self, rows: Sequence[Row]) -> list[list[Item] | RowError]:
        """One item per row, without the start of its text where it is too long."""
        labelled = cast("Sequence[Labelled]", rows)
        encoded = encode_conversations([row.conversation() for row in labelled], self._dialogue, self._max_tokens)
        return [
            items if isinstance(items, RowError) else [self._with_label(item, row.label) for item in items]
            for row, items in zip(labelled, encoded, strict=True)
        ]

    def _with_label(self, item: Item, label: str) -> Item:
        return Item(item.sequences, self.places[label], item.dataset, item.cut)
