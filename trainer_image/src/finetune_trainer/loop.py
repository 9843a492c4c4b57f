"""The training loop.

Accelerate prepares model and optimiser and nothing else: its loader, scheduler and gradient accumulation would each
change the arithmetic. The gradient of a step is that of the summed loss divided by the weight of the whole step (of a
language model, its supervised tokens), so cutting the step into other micro-batches changes memory and speed, not the
result.

The device is waited for where losses are read (`StepReader`): every two seconds or so, at validation points and before
a checkpoint. Only there is it known whether they are finite, so what a checkpoint holds is sound; its tensors are
checked too, by whoever saves them. Steps are judged one by one in their order, so that what follows from them does not
depend on when they were read.

Several processes train one model together (`ranks`): each takes its share of a step's items and ends the step with the
same weights; the first one tells and saves.
"""

import logging
import math
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any, Final

import torch
from accelerate import Accelerator
from torch.distributed.tensor import DTensor

from finetune_api.conditions import Reason
from finetune_trainer.best import best_in, put_weights, with_best
from finetune_trainer.cadence import Cadence
from finetune_trainer.control import Control
from finetune_trainer.data.plan import Step, plan_digest
from finetune_trainer.divergence import MOST_ROLLBACKS, diverged
from finetune_trainer.errors import InfrastructureError, StopRequested
from finetune_trainer.follow import Follower
from finetune_trainer.gradient import Gradients
from finetune_trainer.hyperparameters import Hyperparameters
from finetune_trainer.objectives.base import Task
from finetune_trainer.optimizer import clip_gradients, make_optimizer
from finetune_trainer.packing import enable_packing
from finetune_trainer.ranks import Ranks
from finetune_trainer.schedule import learning_rate
from finetune_trainer.sharding import gather, gathered, shard
from finetune_trainer.state import Counters, LoopState, restore, snapshot, trainable
from finetune_trainer.steplog import StepLog, StepReader

LOG: Final = logging.getLogger(__name__)
_USUAL: Final = Control()


@dataclass(frozen=True, slots=True)
class TrainingOutcome:
    """The finished loop in numbers, field by field as `report.TrainingSummary` wants them."""

    steps: int
    tokens: int
    weight: float
    final_loss: float
    validation_loss: float | None
    tokens_per_second: float
    """Of this attempt, as the next three; 0 where it had no step left to do."""
    supervised_tokens_per_second: float
    input_stall: float
    step_seconds: float
    predicted_memory_bytes: int | None
    """What the rehearsal on a GPU found."""
    execution: str
    """How steps were computed at last, for people."""
    execution_changes: str
    """How this attempt computes steps otherwise than the one that it goes on from; empty where it does not."""
    resumed_from_step: int | None
    kept_step: int | None = None
    stopped_early: str | None = None
    rollbacks: int = 0


def _ignore(_told: object) -> None:
    """Stand in for what nobody listens to, or only the first rank does."""


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
    control: Control = _USUAL,
    ranks: Ranks | None = None,
    is_divided: bool = False,
    on_execution: Callable[[str], None] = _ignore,
    clock: Callable[[], float] = time.monotonic,
) -> TrainingOutcome:
    """Train what `model` has to train in place over `plan`, from `state` if given.

    `control` says when to look at the `validation` rows and what follows from it, and what is done about divergence.
    At the end `model` is the last state or the best, as it asks for.

    `on_log` gets every step in order, a few at a time. `on_checkpoint` gets the state when one is due (`cadence`) and
    `may_save`, after the last step, and when `should_stop` asks for it. Of several processes (`ranks`; those that
    torchrun has started where it is None) only the first calls these three, and all save and stop when one is to. Each
    is given a `state` or none is; the tensors of the first one's count. With `is_divided` each holds a part of every
    layer meanwhile (`sharding`). `on_execution` is told before and after every step how it is computed (`execution`):
    first when the largest micro-batch has gone through the model, where that is tried.

    Raises:
        DivergedError: a loss or gradient is not finite, or the loss has risen too far, and `control` does not ask for a
            rollback, or there were three. A rollback goes to the state last handed to `on_checkpoint`, or the start.
        StopRequested: `should_stop` was true between two steps; the state has been handed to `on_checkpoint`.

    """
    run = _Run(
        model=model,
        task=task,
        validation=validation,
        settings=settings,
        plan=plan,
        state=state,
        control=control,
        ranks=ranks,
        is_divided=is_divided,
        clock=clock,
    )
    if not run.ranks.is_first:
        on_log, on_checkpoint, on_execution, may_save = _ignore, _ignore, _ignore, lambda: False
    cadence = Cadence(every_minutes, every_steps, step=run.counters.step, now=clock())
    with closing(run.gradients):
        on_execution(run.gradients.summary())
        run.catch_up(should_stop)
        while not run.is_finished():
            if run.ranks.any(should_stop()):
                run.settle(on_log, should_stop)
                on_checkpoint(run.state())
                raise _stopped(run.counters.step, len(plan))
            run.step()
            on_execution(run.gradients.summary())
            step = run.counters.step
            due = may_save() and cadence.is_due(step, clock())
            saving = run.ranks.any(due) or step == len(plan)
            if saving or run.is_validation_point() or run.ranks.any(run.reader.due()):
                run.settle(on_log, should_stop)
            if saving or run.is_finished():
                on_checkpoint(run.hold())
                cadence.saved(run.counters.step, clock())
                run.reader.restart()
    run.keep()
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
        control: Control,
        ranks: Ranks | None,
        is_divided: bool,
        clock: Callable[[], float],
    ) -> None:
        self.task, self.settings, self.plan = task, settings, plan
        self.control = control
        self.accelerator = Accelerator(cpu=next(model.parameters()).device.type == "cpu")
        self.ranks = ranks or Ranks(self.accelerator.process_index, self.accelerator.num_processes)
        # As for evaluation: accelerate would wrap a model that several ranks train, and sum gradients too often.
        self.model = self.accelerator.prepare_model(model, evaluation_mode=True)
        self.packing = settings.packing == "auto" and enable_packing(model, _longest(task, validation))
        self.ranks.start_alike([parameter for _, parameter in trainable(model)], plan_digest(plan))
        if is_divided:
            shard(self.accelerator.unwrap_model(self.model))
        self.optimizer = self.accelerator.prepare_optimizer(make_optimizer(model, settings))
        self.counters = Counters(plan_digest=plan_digest(plan))
        self.untold: dict[str, Any] = {}
        """Fields of the next step's log."""
        self.gradients = Gradients(
            model=self.accelerator.unwrap_model(self.model),
            task=task,
            plan=plan,
            settings=settings,
            packing=self.packing,
            ranks=self.ranks,
            is_divided=is_divided,
            backward=self.accelerator.backward,
            begin=state.counters.step if state is not None else 0,
        )
        self.execution_changes = ""
        self.resumed_from_step: int | None = None
        self.follower = Follower(control, validation, len(plan))
        if state is not None:
            self._resume(state)
        self.parameters = [parameter for _, parameter in trainable(model)]
        self.reader = StepReader(len(plan), self.counters, clock)
        self.held = self.state() if self.control.on_divergence == "rollback" else None
        """Where a rollback goes to."""

    def step(self) -> None:
        """One optimiser step; the device is not waited for."""
        number = self.counters.step
        step = self.plan[number]
        rate = learning_rate(number, len(self.plan), self.settings)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        weight = sum(self.task.weight(index) for index in step)
        loss = self.gradients.of(number, weight)
        self.ranks.sum_gradients([each for each in self.parameters if not isinstance(each, DTensor)], loss)
        norm = clip_gradients(self.parameters, self.settings.max_grad_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self._count(step, weight)
        self.reader.note(self.counters, rate, loss, norm)

    def is_finished(self) -> bool:
        """Whether no step is left to do."""
        return self.counters.step >= len(self.plan) or self.follower.is_out_of_patience(self.counters)

    def is_validation_point(self) -> bool:
        """Whether the step just done is one after which the validation rows are to be looked at, and were not yet."""
        return self.follower.is_due(self.counters)

    def catch_up(self, should_stop: Callable[[], bool]) -> None:
        """Take a measurement that was due and could not be taken: a stop request or a rollback came first."""
        if self.is_validation_point():
            self._follow(should_stop)

    def settle(self, on_log: Callable[[StepLog], None], should_stop: Callable[[], bool]) -> None:
        """Read the losses and judge them, look at the validation rows if it is time, and tell of it."""
        logs = self.reader.read()
        for log in logs:
            fault = log.fault()
            if fault is None:
                trend = self.counters.trend.after(log.step, log.loss)
                self.counters = replace(self.counters, loss=log.loss, trend=trend)
                fault = trend.fault(self.control.divergence_factor)
                if log is logs[-1] and fault is None and self.is_validation_point():
                    self._follow(should_stop)
                if self.gradients.cut_to is not None:
                    self.untold["micro_batch_tokens"] = self.gradients.cut_to
                    self.gradients.cut_to = None
                on_log(replace(log, **self.untold))
                self.untold = {}
            if fault is not None:
                self._roll_back(log.step, fault)
                self.catch_up(should_stop)
                return

    def hold(self) -> LoopState:
        """The state, to which a rollback will go."""
        state = self.state()
        self.held = state if self.held is not None else None
        return state

    def keep(self) -> None:
        """Put the best state into the model, where that is wanted; it is whole again everywhere."""
        model = self.accelerator.unwrap_model(self.model)
        if self.ranks.any(bool(self.follower.best)):
            put_weights(self.follower.best, model, self.ranks)
        gather(model)

    def state(self) -> LoopState:
        """Everything that a resumed run needs."""
        model = self.accelerator.unwrap_model(self.model)
        is_first = self.ranks.is_first
        state = snapshot(self.counters, model, self.optimizer.optimizer, self.gradients.execution(), is_first=is_first)
        return with_best(state, self.follower.best)

    def outcome(self) -> TrainingOutcome:
        """The finished loop in numbers."""
        best = self.counters.validation.best
        return TrainingOutcome(
            steps=self.counters.step,
            tokens=self.counters.tokens,
            weight=self.counters.weight,
            final_loss=self.counters.loss if self.counters.loss is not None else math.nan,
            validation_loss=self.counters.validation_loss,
            tokens_per_second=self.reader.tokens_per_second(),
            supervised_tokens_per_second=self.reader.weight_per_second(),
            input_stall=self.reader.input_stall(),
            step_seconds=self.reader.seconds,
            predicted_memory_bytes=self.gradients.predicted,
            execution=self.gradients.summary(),
            execution_changes=self.execution_changes,
            resumed_from_step=self.resumed_from_step,
            kept_step=best.step if self.follower.best and best is not None else None,
            stopped_early=self.follower.why_early(self.counters),
            rollbacks=self.counters.rollbacks,
        )

    def _follow(self, should_stop: Callable[[], bool]) -> None:
        model = self.accelerator.unwrap_model(self.model)
        budget = self.gradients.micro_batch
        with gathered(model):
            found = self.follower.look(model, budget, packing=self.packing, should_stop=should_stop, ranks=self.ranks)
            self.reader.restart()
            if found is not None:
                self.counters = self.follower.note(found, model, self.counters)
                self.untold |= self.follower.fields(found)

    def _roll_back(self, step: int, fault: str) -> None:
        """Go on after `step` from the state that is held.

        Raises:
            DivergedError: nothing is held, or it was gone back to often enough.

        """
        done = self.counters.rollbacks
        if self.held is None or done == MOST_ROLLBACKS:
            raise diverged(fault, step=step, total_steps=len(self.plan), rollbacks=done)
        self._take(self.held)
        back_to = self.counters.step
        LOG.warning("step %d: %s; going on from the state after step %d", step, fault, back_to)
        self.counters = replace(self.counters, step=step, rollbacks=done + 1)
        self.reader.rewind(self.counters)
        self.untold = {"rolled_back_to": back_to}

    def _count(self, step: Step, weight: float) -> None:
        self.counters = replace(
            self.counters,
            step=self.counters.step + 1,
            tokens=self.counters.tokens + sum(self.task.lengths[index] for index in step),
            weight=self.counters.weight + weight,
        )

    def _resume(self, state: LoopState) -> None:
        if state.counters.plan_digest != self.counters.plan_digest:
            raise InfrastructureError(
                reason=Reason.INTERNAL,
                message="the checkpoint was made for another order of the training rows",
                advice="remove the checkpoints under output.uri and create the job again with the same trainer image",
            )
        self._take(state)
        self.resumed_from_step = state.counters.step
        if state.execution is not None:
            self.execution_changes = self.gradients.execution().changes_since(state.execution)
        if self.execution_changes:
            LOG.info("going on in another way, with the same result but for rounding: %s", self.execution_changes)

    def _take(self, state: LoopState) -> None:
        restore(state, self.accelerator.unwrap_model(self.model), self.optimizer.optimizer, self.ranks)
        self.counters, self.follower.best = state.counters, best_in(state)


def _longest(task: Task, validation: Task | None) -> int:
    return max(max(some.lengths) for some in (task, validation) if some is not None)


def _stopped(step: int, total_steps: int) -> StopRequested:
    return StopRequested(
        reason=Reason.PREEMPTED,
        message=f"asked to stop after step {step} of {total_steps}; the state is saved",
        advice="nothing to do: the next attempt goes on from there",
    )
