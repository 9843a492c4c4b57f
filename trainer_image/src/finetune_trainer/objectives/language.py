"""Language modelling: `sft`, `continued-pretraining` and generative classification differ in their rows alone."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from finetune_trainer.data.encode import Tokenized
from finetune_trainer.data.item import Item
from finetune_trainer.loss import collate, row_losses


class LanguageTask:
    """Cross-entropy on the supervised tokens of each row."""

    def __init__(self, items: Sequence[Item]) -> None:
        self._items = items
        self.lengths = [item.length for item in items]

    def weight(self, index: int) -> float:
        """Summed weights of a row's supervised tokens."""
        return self._items[index].sequences[0].target_weight

    def supervised(self, index: int) -> float:
        """The same."""
        return self.weight(index)

    def losses(self, model: Any, indices: Sequence[int], *, packing: bool) -> Tensor:
        """Summed loss of each row, float32 [rows]."""
        return sequence_losses(model, [self._items[index].sequences[0] for index in indices], packing=packing)


def sequence_losses(model: Any, rows: Sequence[Tokenized], *, packing: bool) -> Tensor:
    """Weighted sum of -log p over the supervised tokens of each row, float32 [rows]; differentiable."""
    return row_losses(model, collate(rows, next(model.parameters()).device, packing=packing))
