"""The training loop.

Accelerate prepares model and optimiser and nothing else: its loader, scheduler and gradient accumulation would each
change the arithmetic. The gradient of a step is that of the summed loss divided by the weight of the whole step (of a
language model, its supervised tokens), so cutting the step into other micro-batches changes memory and speed, not the
result.

The device is waited for where losses are read (`StepReader`): every two seconds or so, at validation points and before
a checkpoint. Only there is it known whether they are finite, so what a checkpoint holds is sound.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import torch
from accelerate import Accelerator
from torch import Tensor

from finetune_api.conditions import Reason
from finetune_trainer.data.plan import Step, micro_batches, plan_digest
from finetune_trainer.errors import InfrastructureError, StopRequested
from finetune_trainer.hyperparameters import Hyperparameters
from finetune_trainer.objectives.base import Task
from finetune_trainer.schedule import learning_rate
from finetune_trainer.state import Counters, LoopState, restore, snapshot, trainable
from finetune_trainer.steplog import StepLog, StepReader

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
    resumed_from_step: int | None


def micro_batch_tokens(settings: Hyperparameters) -> int:
    """Padded tokens that go through the model at once."""
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
    every_steps: int,
    clock: Callable[[], float] = time.monotonic,
) -> TrainingOutcome:
    """Train what `model` has to train in place over `plan`, from `state` if given.

    `on_log` gets every step in order, a few at a time. `on_checkpoint` gets the state every `every_steps` steps, after
    the last, and when `should_stop` asks for it.

    Raises:
        DivergedError: a loss or gradient is not finite.
        StopRequested: `should_stop` was true between two steps; the state has been handed to `on_checkpoint`.

    """
    run = _Run(model=model, task=task, validation=validation, settings=settings, plan=plan, state=state, clock=clock)
    while run.counters.step < len(plan):
        if should_stop():
            run.settle(on_log, should_stop)
            on_checkpoint(run.state())
            raise _stopped(run.counters.step, len(plan))
        run.step()
        step = run.counters.step
        saving = step % every_steps == 0 or step == len(plan)
        if saving or run.is_validation_point() or run.reader.due():
            run.settle(on_log, should_stop)
        if saving:
            on_checkpoint(run.state())
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
        self.model, self.optimizer = self.accelerator.prepare(model, _optimizer(model, settings))
        self.counters = Counters(plan_digest=plan_digest(plan))
        self.resumed_from_step: int | None = None
        if state is not None:
            self._resume(state)
        self.reader = StepReader(len(plan), self.counters, clock)

    def step(self) -> None:
        """One optimiser step; the device is not waited for."""
        number = self.counters.step
        step = self.plan[number]
        rate = learning_rate(number, len(self.plan), self.settings)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        torch.manual_seed((self.settings.seed << 32) + number)
        weight = sum(self.task.weight(index) for index in step)
        loss = self._backward(step, weight)
        norm = self.accelerator.clip_grad_norm_(self.model.parameters(), self.settings.max_grad_norm)
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
        return snapshot(self.counters, self.accelerator.unwrap_model(self.model), self.optimizer.optimizer)

    def outcome(self) -> TrainingOutcome:
        """The finished loop in numbers."""
        return TrainingOutcome(
            steps=self.counters.step,
            tokens=self.counters.tokens,
            weight=self.counters.weight,
            final_loss=self.counters.loss if self.counters.loss is not None else math.nan,
            validation_loss=self.counters.validation_loss,
            tokens_per_second=self.reader.tokens_per_second(),
            resumed_from_step=self.resumed_from_step,
        )

    def _validation_loss(self, should_stop: Callable[[], bool]) -> float | None:
        """Weighted mean; None where a stop request came first, because saving the state is urgent then."""
        if self.validation is None:
            return None
        try:
            return mean_loss(self.model, self.validation, self.settings, should_stop)
        except InterruptedError:
            return None

    def _backward(self, step: Step, weight: float) -> Tensor:
        """Gradients of a whole step; its mean loss, still on the device."""
        self.model.train()
        model = self.accelerator.unwrap_model(self.model)
        packing = self.settings.packing == "auto"
        total = torch.zeros((), device=self.accelerator.device)
        for indices in micro_batches(step, self.task.lengths, micro_batch_tokens(self.settings)):
            loss = self.task.losses(model, indices, packing=packing).sum() / weight
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


@torch.inference_mode()
def mean_loss(
    model: torch.nn.Module, task: Task, settings: Hyperparameters, should_stop: Callable[[], bool] = lambda: False
) -> float:
    """Weighted mean loss over all items, the same however they are batched.

    Raises:
        InterruptedError: `should_stop` was true between two batches.

    """
    was_training = model.training
    model.eval()
    everything = tuple(range(len(task.lengths)))
    total = 0.0
    for indices in micro_batches(everything, task.lengths, micro_batch_tokens(settings)):
        if should_stop():
            model.train(was_training)
            raise InterruptedError
        total += float(task.losses(model, indices, packing=settings.packing == "auto").double().sum())
    model.train(was_training)
    return total / sum(task.weight(index) for index in everything)


def _optimizer(model: torch.nn.Module, settings: Hyperparameters) -> torch.optim.Optimizer:
    parameters: list[Any] = [parameter for _, parameter in trainable(model)]
    return torch.optim.AdamW(parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay)


def _stopped(step: int, total_steps: int) -> StopRequested:
    return StopRequested(
        reason=Reason.PREEMPTED,
        message=f"asked to stop after step {step} of {total_steps}; the state is saved",
        advice="nothing to do: the next attempt goes on from there",
    )
