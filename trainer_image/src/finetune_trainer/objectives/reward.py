"""Reward modelling: a score whose difference predicts the better of two answers (Bradley and Terry 1952)."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.nn import functional

from finetune_trainer.data.item import Item
from finetune_trainer.objectives.pooled import last_scores


class RewardTask:
    """-log sigmoid(score of the preferred answer - score of the other); every pair counts 1."""

    def __init__(self, items: Sequence[Item]) -> None:
        self._items = items
        self.lengths = [item.length for item in items]

    def weight(self, index: int) -> float:  # noqa: ARG002
        """A pair is one decision."""
        return 1.0

    def supervised(self, index: int) -> float:  # noqa: ARG002
        """None: the head is another one, and small."""
        return 0.0

    def losses(self, model: Any, indices: Sequence[int], *, packing: bool) -> Tensor:
        """Loss of each pair, float32 [pairs]."""
        sequences = [sequence for index in indices for sequence in self._items[index].sequences]
        chosen, rejected = last_scores(model, sequences, packing=packing).view(-1, 2).unbind(1)
        return -functional.logsigmoid(chosen - rejected)
