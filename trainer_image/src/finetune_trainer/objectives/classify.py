"""Classification by a new head: one decision per row."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from finetune_trainer.attention import to_device
from finetune_trainer.data.item import Item
from finetune_trainer.objectives.pooled import last_scores


class ClassifyTask:
    """Cross-entropy of each row's label; every row counts 1, however long."""

    def __init__(self, items: Sequence[Item]) -> None:
        self._items = items
        self.lengths = [item.length for item in items]

    def weight(self, index: int) -> float:  # noqa: ARG002
        """A row is one decision."""
        return 1.0

    def supervised(self, index: int) -> float:  # noqa: ARG002
        """None: the head is another one, and small."""
        return 0.0

    def losses(self, model: Any, indices: Sequence[int], *, packing: bool) -> Tensor:
        """-log p of each row's label, float32 [rows]."""
        items = [self._items[index] for index in indices]
        labels = to_device(torch.tensor([item.label for item in items]), next(model.parameters()).device)
        scores = last_scores(model, [item.sequences[0] for item in items], packing=packing)
        return functional.cross_entropy(scores, labels, reduction="none")
