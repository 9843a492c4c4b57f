"""Measurements on the validation rows while training goes on."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch

from finetune_trainer.best import Weights, copy_weights
from finetune_trainer.control import Control
from finetune_trainer.data.plan import micro_batches, shares
from finetune_trainer.errors import StopRequested
from finetune_trainer.objectives.base import Task
from finetune_trainer.ranks import Ranks
from finetune_trainer.state import Counters
from finetune_trainer.validation import out_of_patience, points


@dataclass(frozen=True, slots=True)
class Followed:
    """What the validation rows have shown of a model."""

    loss: float
    """Weighted mean, as training learns from it."""
    metric: float | None
    """The asked metric, where one is asked besides the loss."""


class Follower:
    """Looks at the validation rows now and then, and keeps the best weights where that is wanted."""

    def __init__(self, control: Control, task: Task | None, steps: int) -> None:
        """`task` are the validation rows; None where there are none. The run has so many `steps`."""
        self._task, self._control, self._steps = task, control, steps
        self._points = points(steps, self._control.times) if task is not None else frozenset()
        self.best: Weights = {}
        """Those of the best measurement; empty where the last state is kept, or before there is one."""

    def is_due(self, counters: Counters) -> bool:
        """Whether the rows are to be looked at after the step just done, and were not yet."""
        return counters.step in self._points and counters.validation.step < counters.step

    def is_out_of_patience(self, counters: Counters) -> bool:
        """Whether training ends here."""
        return out_of_patience(counters.validation, self._control) is not None

    def why_early(self, counters: Counters) -> str | None:
        """Why training has ended before its last step, if it has."""
        return out_of_patience(counters.validation, self._control) if counters.step < self._steps else None

    def look(
        self, model: Any, batch_tokens: int, *, packing: bool, should_stop: Callable[[], bool], ranks: Ranks
    ) -> Followed | None:
        """What the rows show of `model`, the same on all ranks.

        None where a stop request came first, because saving the state is urgent then.
        """
        if self._task is None:
            return None
        try:
            loss = mean_loss(model, self._task, batch_tokens, packing=packing, should_stop=should_stop, ranks=ranks)
        except InterruptedError:
            return None
        if self._control.measure is None:
            return Followed(loss, None)
        value, stopped = 0.0, False
        try:
            value = self._control.measure.measure(model)
        except StopRequested:
            stopped = True
        if ranks.any(stopped):
            return None
        # All have the same results; the first one's word counts, so that none decides otherwise by a last bit.
        (value,) = ranks.sum(value if ranks.is_first else 0.0)
        return Followed(loss, value)

    def note(self, found: Followed, model: torch.nn.Module, counters: Counters) -> Counters:
        """The counters with the measurement; the weights are copied if they are the best so far."""
        value = found.loss if found.metric is None else found.metric
        higher_is_better = found.metric is not None
        record = counters.validation.after(counters.step, value, higher_is_better=higher_is_better)
        if self._control.keep == "best" and record.best is not None and record.best.step == counters.step:
            self.best = copy_weights(model)
        return replace(counters, validation=record, validation_loss=found.loss)

    def fields(self, found: Followed) -> dict[str, Any]:
        """What a step's log says of a measurement."""
        metric = None if found.metric is None else (self._control.metric, found.metric)
        return {"validation_loss": found.loss, "validation_metric": metric}


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
