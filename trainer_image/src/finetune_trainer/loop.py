"""The training loop.

Accelerate prepares model and optimiser and nothing else: its loader, scheduler and gradient accumulation would each
change the arithmetic. The gradient of a step is that of the summed loss divided by the weight of the whole step (of a
language model, its supervised tokens), so cutting the step into other micro-batches changes memory and speed, not the
result.

The device is waited for where losses are read (`StepReader`): every two seconds or so, at validation points and before
a checkpoint. Only there is it known whether they are finite, so what a checkpoint holds is sound. Its tensors are
checked too, by whoever saves them.

Several processes started by torchrun train one model together (`ranks`): each takes its share of a step's items and
ends the step with the same weights; the first one tells and saves.
"""

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import torch
from accelerate import Accelerator
from torch import Tensor

from finetune_api.conditions import Reason
from finetune_trainer.cadence import Cadence
from finetune_trainer.changes import changed_settings
from finetune_trainer.data.plan import Step, micro_batches, plan_digest, shares
from finetune_trainer.errors import InfrastructureError, StopRequested
from finetune_trainer.hyperparameters import Hyperparameters
from finetune_trainer.manifest import Execution
from finetune_trainer.objectives.base import Task
from finetune_trainer.packing import enable_packing
from finetune_trainer.ranks import Ranks
from finetune_trainer.schedule import learning_rate
from finetune_trainer.state import Counters, LoopState, restore, snapshot, trainable
from finetune_trainer.steplog import StepLog, StepReader

LOG: Final = logging.getLogger(__name__)
_VALIDATIONS: Final = 4
"""How often the validation loss is measured, evenly spread, the end included."""


@dataclass(frozen=True, slots=True)
class TrainingOutcome:
    """The finished loop in numbers, field by field as `report.TrainingSummary` wants them."""

    steps: int
    tokens: int
    weight: float
    final_loss: float
    validation_loss: float | None
    tokens_per_second: float
    """Of this attempt; 0 where it had no step left to do."""
    execution_changes: str
    """How this attempt computes steps otherwise than the one that it goes on from; empty where it does not."""
    resumed_from_step: int | None


def micro_batch_tokens(settings: Hyperparameters) -> int:
    """Tokens that go through the model at once, padding included."""
    return settings.micro_batch


def train(
    *,
    model: torch.nn.Module,
    task: Task,
    validation: Task | None,
    settings: Hyperparameters,
    plan: Sequence[Step],
    state: LoopState | None,
    on_log: Callable[[StepLog], None],
    should_stop: Callable[[], bool],
    on_checkpoint: Callable[[LoopState], None],
    every_steps: int | None,
    every_minutes: float | None = None,
    may_save: Callable[[], bool] = lambda: True,
    clock: Callable[[], float] = time.monotonic,
) -> TrainingOutcome:
    """Train what `model` has to train in place over `plan`, from `state` if given.

    `on_log` gets every step in order, a few at a time. `on_checkpoint` gets the state when one is due (`cadence`) and
    `may_save`, after the last step, and when `should_stop` asks for it. Of several processes each is given the same
    `state`, only the first calls these three, and all save and stop when one is to.

    Raises:
        DivergedError: a loss or gradient is not finite.
        StopRequested: `should_stop` was true between two steps; the state has been handed to `on_checkpoint`.

    """
    run = _Run(model=model, task=task, validation=validation, settings=settings, plan=plan, state=state, clock=clock)
    if not run.ranks.is_first:
        on_log, on_checkpoint, may_save = _ignore, _ignore, lambda: False
    cadence = Cadence(every_minutes, every_steps, step=run.counters.step, now=clock())
    while run.counters.step < len(plan):
        if run.ranks.any(should_stop()):
            run.settle(on_log, should_stop)
            on_checkpoint(run.state())
            raise _stopped(run.counters.step, len(plan))
        run.step()
        step = run.counters.step
        due = may_save() and cadence.is_due(step, clock())
        saving = run.ranks.any(due) or step == len(plan)
        if saving or run.is_validation_point() or run.ranks.any(run.reader.due()):
            run.settle(on_log, should_stop)
        if saving:
            on_checkpoint(run.state())
            cadence.saved(step, clock())
            run.reader.restart()
    return run.outcome()


class _Run:
    """What a step changes, and what it needs to do so."""

    def __init__(
        self,
        *,
        model: torch.nn.Module,
        task: Task,
        validation: Task | None,
        settings: Hyperparameters,
        plan: Sequence[Step],
        state: LoopState | None,
        clock: Callable[[], float],
    ) -> None:
        self.task, self.validation, self.settings, self.plan = task, validation, settings, plan
        self.accelerator = Accelerator(cpu=next(model.parameters()).device.type == "cpu")
        self.ranks = Ranks(self.accelerator.process_index, self.accelerator.num_processes)
        # As for evaluation: accelerate would wrap a model that several ranks train, and sum gradients too often.
        self.model = self.accelerator.prepare_model(model, evaluation_mode=True)
        self.optimizer = self.accelerator.prepare_optimizer(_optimizer(model, settings))
        self.packing = settings.packing == "auto" and enable_packing(model, _longest(task, validation))
        self.counters = Counters(plan_digest=plan_digest(plan))
        self.execution = Execution(
            world_size=self.ranks.count, packing=self.packing, micro_batch_tokens=micro_batch_tokens(settings)
        )
        self.execution_changes = ""
        self.resumed_from_step: int | None = None
        if state is not None:
            self._resume(state)
        self.parameters = [parameter for _, parameter in trainable(model)]
        self.ranks.start_alike(self.parameters, f"{self.counters.plan_digest} from step {self.counters.step}")
        self.reader = StepReader(len(plan), self.counters, clock)

    def step(self) -> None:
        """One optimiser step; the device is not waited for."""
        number = self.counters.step
        step = self.plan[number]
        rate = learning_rate(number, len(self.plan), self.settings)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        torch.manual_seed((self.settings.seed << 32) + (self.ranks.index << 22) + number)
        weight = sum(self.task.weight(index) for index in step)
        loss = self._backward(shares(step, self.task.lengths, self.ranks.count)[self.ranks.index], weight)
        self.ranks.sum_gradients(self.parameters, loss)
        norm = self.accelerator.clip_grad_norm_(self.parameters, self.settings.max_grad_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self._count(step, weight)
        self.reader.note(self.counters, rate, loss, norm)

    def is_validation_point(self) -> bool:
        """Whether the step just done is one after which the validation loss is measured."""
        points = {math.ceil(len(self.plan) * part / _VALIDATIONS) for part in range(1, _VALIDATIONS + 1)}
        return self.validation is not None and self.counters.step in points

    def settle(self, on_log: Callable[[StepLog], None], should_stop: Callable[[], bool]) -> None:
        """Read the losses, check that they are finite, measure the validation loss if it is time, and tell of it."""
        logs = self.reader.read()
        if not logs:
            return
        *earlier, last = logs
        for log in earlier:
            log.require_finite()
            on_log(log)
        last.require_finite()
        found: dict[str, float | None] = {"loss": last.loss}
        if self.is_validation_point():
            found["validation_loss"] = self._validation_loss(should_stop)
            last = replace(last, validation_loss=found["validation_loss"])
            self.reader.restart()
        self.counters = self.counters.model_copy(update=found)
        on_log(last)

    def state(self) -> LoopState:
        """Everything that a resumed run needs."""
        model = self.accelerator.unwrap_model(self.model)
        return snapshot(self.counters, model, self.optimizer.optimizer, self.execution)

    def outcome(self) -> TrainingOutcome:
        """The finished loop in numbers."""
        return TrainingOutcome(
            steps=self.counters.step,
            tokens=self.counters.tokens,
            weight=self.counters.weight,
            final_loss=self.counters.loss if self.counters.loss is not None else math.nan,
            validation_loss=self.counters.validation_loss,
            tokens_per_second=self.reader.tokens_per_second(),
            execution_changes=self.execution_changes,
            resumed_from_step=self.resumed_from_step,
        )

    def _validation_loss(self, should_stop: Callable[[], bool]) -> float | None:
        """Weighted mean; None where a stop request came first, because saving the state is urgent then."""
        if self.validation is None:
            return None
        try:
            budget = micro_batch_tokens(self.settings)
            return mean_loss(
                self.model, self.validation, budget, packing=self.packing, should_stop=should_stop, ranks=self.ranks
            )
        except InterruptedError:
            return None

    def _backward(self, share: Step, weight: float) -> Tensor:
        """Gradients of this rank's share of a step, and its part of the mean loss, still on the device."""
        self.model.train()
        model = self.accelerator.unwrap_model(self.model)
        total = torch.zeros((), device=self.accelerator.device)
        budget = micro_batch_tokens(self.settings)
        for indices in micro_batches(share, self.task.lengths, budget, packing=self.packing):
            loss = self.task.losses(model, indices, packing=self.packing).sum() / weight
            self.accelerator.backward(loss)
            total += loss.detach()
        return total

    def _count(self, step: Step, weight: float) -> None:
        done = {
            "step": self.counters.step + 1,
            "tokens": self.counters.tokens + sum(self.task.lengths[index] for index in step),
            "weight": self.counters.weight + weight,
        }
        self.counters = self.counters.model_copy(update=done)

    def _resume(self, state: LoopState) -> None:
        if state.counters.plan_digest != self.counters.plan_digest:
            raise InfrastructureError(
                reason=Reason.INTERNAL,
                message="the checkpoint was made for another order of the training rows",
                advice="remove the checkpoints under output.uri and create the job again with the same trainer image",
            )
        restore(state, self.accelerator.unwrap_model(self.model), self.optimizer.optimizer)
        self.counters = state.counters
        self.resumed_from_step = state.counters.step
        if state.execution is not None:
            was, now = (each.model_dump(mode="json") for each in (state.execution, self.execution))
            self.execution_changes = changed_settings(was, now)
        if self.execution_changes:
            LOG.info("going on in another way, with the same result but for rounding: %s", self.execution_changes)


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


def _ignore(_told: object) -> None:
    """Stand in for what only the first rank does."""


def _longest(task: Task, validation: Task | None) -> int:
    return max(max(some.lengths) for some in (task, validation) if some is not None)


def _optimizer(model: torch.nn.Module, settings: Hyperparameters) -> torch.optim.Optimizer:
    parameters: list[Any] = [parameter for _, parameter in trainable(model)]
    return torch.optim.AdamW(parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay)


def _stopped(step: int, total_steps: int) -> StopRequested:
    return StopRequested(
        reason=Reason.PREEMPTED,
        message=f"asked to stop after step {step} of {total_steps}; the state is saved",
        advice="nothing to do: the next attempt goes on from there",
    )
