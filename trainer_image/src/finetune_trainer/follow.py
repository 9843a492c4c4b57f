"""Measurements on the validation rows while training goes on."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from finetune_api.spec.evaluation import MetricName
from finetune_api.spec.training import Guards, Validation
from finetune_trainer.data.plan import micro_batches, shares
from finetune_trainer.errors import StopRequested
from finetune_trainer.objectives.base import Task
from finetune_trainer.ranks import Ranks


@dataclass(frozen=True, slots=True)
class ValidationMeasure:
    """A metric of the objective, measured on the validation rows."""

    name: MetricName
    measure: Callable[[Any], float]
    """Of a model. Higher is better, as of every metric but the loss; may raise StopRequested."""


@dataclass(frozen=True, slots=True)
class Control:
    """What is watched while training goes on, and what follows from it."""

    validation: Validation = field(default_factory=Validation)
    guards: Guards = field(default_factory=Guards)
    measure: ValidationMeasure | None = None
    """`validation.metric`, where that is not the loss."""


@dataclass(frozen=True, slots=True)
class Followed:
    """What the validation rows have shown of a model."""

    loss: float
    """Weighted mean, as training learns from it."""
    metric: float | None
    """The asked metric, where one is asked besides the loss."""


@dataclass(frozen=True, slots=True)
class Follower:
    """Measures the model that is trained."""

    task: Task
    measure: ValidationMeasure | None
    batch_tokens: int
    packing: bool
    ranks: Ranks

    def look(self, model: torch.nn.Module, should_stop: Callable[[], bool]) -> Followed | None:
        """What the rows show of `model`, the same on all ranks; None where a stop request came first."""
        try:
            loss = mean_loss(
                model, self.task, self.batch_tokens, packing=self.packing, should_stop=should_stop, ranks=self.ranks
            )
        except InterruptedError:
            return None
        if self.measure is None:
            return Followed(loss, None)
        value, stopped = 0.0, False
        try:
            value = self.measure.measure(model)
        except StopRequested:
            stopped = True
        if self.ranks.any(stopped):
            return None
        # All have measured the same; the first one's word counts, so that none decides otherwise by a last bit.
        (value,) = self.ranks.sum(value if self.ranks.is_first else 0.0)
        return Followed(loss, value)


@torch.inference_mode()
def mean_loss(
    model: torch.nn.Module,
    task: Task,
    batch_tokens: int,
    *,
    packing: bool,
    should_stop: Callable[[], bool] = lambda: False,
    ranks: Ranks | None = None,
) -> float:
    """Weighted mean loss over all items, the same however they are batched or divided among `ranks`.

    Raises:
        InterruptedError: `should_stop` was true between two batches, on one of the ranks.

    """
    ranks = ranks or Ranks()
    was_training = model.training
    model.eval()
    everything = tuple(range(len(task.lengths)))
    share = shares(everything, task.lengths, ranks.count)[ranks.index]
    total, stopped = 0.0, False
    for indices in micro_batches(share, task.lengths, batch_tokens, packing=packing):
        stopped = should_stop()
        if stopped:
            break
        total += float(task.losses(model, indices, packing=packing).double().sum())
    model.train(was_training)
    if ranks.any(stopped):
        raise InterruptedError
    (total,) = ranks.sum(total)
    return total / sum(task.weight(index) for index in everything)
