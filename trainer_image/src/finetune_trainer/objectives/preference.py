"""Preference tuning by DPO (Rafailov et al. 2023, arXiv:2305.18290, equation 7).

The reference is the model as it stands before its first step: the base, or the adapter it goes on from. Its
log-probabilities are measured once, before training, so that no second model is kept in memory; an attempt that
resumes measures the same model again.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from finetune_trainer.attention import to_device
from finetune_trainer.data.item import Item
from finetune_trainer.evaluate.score import score
from finetune_trainer.objectives.language import sequence_losses


def dpo_losses(
    policy_chosen: Tensor, policy_rejected: Tensor, reference_chosen: Tensor, reference_rejected: Tensor, beta: float
) -> Tensor:
    """Loss of each pair, [pairs], from summed log-probabilities of its answers, each [pairs]."""
    margin = (policy_chosen - reference_chosen) - (policy_rejected - reference_rejected)
    return -functional.logsigmoid(beta * margin)


def log_probabilities(
    model: Any, items: Sequence[Item], batch_tokens: int, on_batch: Callable[[int], None] = lambda _rows: None
) -> Tensor:
    """Summed log-probabilities of the answers of each pair, float32 [pairs, 2] on the CPU, the preferred first.

    `on_batch` is called with the number of sequences of each finished batch; it may raise to stop.
    """
    sequences = [sequence for item in items for sequence in item.sequences]
    losses = score(model, sequences, batch_tokens, on_batch)
    return -torch.tensor([loss.total for loss in losses]).view(-1, 2)


class PreferenceTask:
    """DPO's loss; every pair counts 1."""

    def __init__(self, items: Sequence[Item], reference: Tensor, beta: float) -> None:
        """`reference` is what `log_probabilities` measured of the model before its first step."""
        self._items, self._reference, self._beta = items, reference, beta
        self.lengths = [item.length for item in items]

    def weight(self, index: int) -> float:  # noqa: ARG002
        """A pair is one decision."""
        return 1.0

    def supervised(self, index: int) -> float:
        """Those of both answers."""
        return sum(sequence.target_weight for sequence in self._items[index].sequences)

    def losses(self, model: Any, indices: Sequence[int], *, packing: bool) -> Tensor:
        """Loss of each pair, float32 [pairs]."""
        sequences = [sequence for index in indices for sequence in self._items[index].sequences]
        reference = to_device(self._reference[list(indices)], next(model.parameters()).device)
        chosen, rejected = (-sequence_losses(model, sequences, packing=packing)).view(-1, 2).unbind(1)
        return dpo_losses(chosen, rejected, reference[:, 0], reference[:, 1], self._beta)
