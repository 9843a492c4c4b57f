"""Best state, early stopping and rollback in the loop, and that a run which is stopped or killed ends with the same."""

import contextlib
import math
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load, save
from tiny_model import tiny_config
from trainer_settings import hyperparameters
from training_run import Ended, RunSettings, random_rows, run, run_in_processes
from transformers import LlamaForCausalLM

from finetune_api.base import dump_plain, load_plain
from finetune_api.conditions import Reason
from finetune_trainer.control import Control, ValidationMeasure
from finetune_trainer.data.item import Item
from finetune_trainer.errors import DivergedError, StopRequested
from finetune_trainer.follow import mean_loss
from finetune_trainer.loop import train
from finetune_trainer.methods.attach import attach
from finetune_trainer.methods.settings import MethodSettings
from finetune_trainer.objectives.language import LanguageTask
from finetune_trainer.state import Counters, LoopState, trainable

ROWS, STEPS = 24, 20
PLAN = [tuple((3 * step + row) % ROWS for row in range(3)) for step in range(STEPS)]


class Killed(BaseException):
    """The process is gone in the middle of a step."""


class Poisoned(LanguageTask):
    """Some of its rows make the loss what no model learns: by `times` as much, or not finite."""

    def __init__(self, items, poison, times=math.nan, since=0, kill_at=None):
        super().__init__(items)
        self.poison, self.times, self.since, self.kill_at, self.calls = poison, times, since, kill_at, 0

    def losses(self, model, indices, *, packing):
        self.calls += 1
        if self.calls == self.kill_at:
            raise Killed
        found = super().losses(model, indices, packing=packing)
        return found * self.times if self.calls > self.since and set(indices) & self.poison else found


@dataclass
class Run:
    """One attempt with a fresh copy of the tiny model, and what it told; `scores` are what validation measures."""

    control: Control = field(default_factory=Control)
    scores: list[float] | None = None
    """The metric at each measurement, by the step's number in `points`; None follows the loss."""
    poison: frozenset[int] = frozenset()
    times: float = math.nan
    since: int = 0
    """Steps that are spared."""
    every: int | None = 5
    state: LoopState | None = None
    stop_poll: int | None = None
    kill_at: int | None = None
    validation: bool = True

    def start(self):
        torch.manual_seed(0)
        numbers = hyperparameters(learning_rate=0.02, micro_batch_tokens=96)
        self.model = attach(LlamaForCausalLM(tiny_config()).requires_grad_(False), MethodSettings(), numbers)
        items = [Item((row,)) for row in random_rows(ROWS)]
        self.logs, self.states, self.polls = [], [], 0

        def should_stop():
            self.polls += 1
            return self.stop_poll is not None and self.polls > self.stop_poll

        self.outcome = train(
            model=self.model, task=Poisoned(items, self.poison, self.times, self.since, self.kill_at),
            validation=LanguageTask(items[:6]) if self.validation else None, settings=numbers, plan=PLAN,
            state=self.state, on_log=self.logs.append, should_stop=should_stop,
            on_checkpoint=lambda state: self.states.append(through_a_file(state)), every_steps=self.every,
            control=self.control, clock=lambda: 0.0,
        )  # fmt: skip
        return self

    def weights(self):
        return {name: parameter.detach().clone() for name, parameter in trainable(self.model)}


def through_a_file(state: LoopState) -> LoopState:
    """As a checkpoint holds it."""
    counters = load_plain(Counters, dump_plain(state.counters))
    return LoopState(counters, load(save(state.tensors)))


def same(found: Run, expected: Run) -> bool:
    mine, theirs = found.weights(), expected.weights()
    return mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)


class Scripted:
    """A metric with given values in turn, always the same for the same weights."""

    def __init__(self, *values):
        self.values, self.seen = values, {}

    def __call__(self, model):
        key = tuple(float(parameter.detach().double().sum()) for _, parameter in trainable(model))
        if key not in self.seen:
            self.seen[key] = self.values[len(self.seen)]
        return self.seen[key]


def followed(*values, **settings) -> Control:
    """Validation by a scripted accuracy."""
    measure = ValidationMeasure("exact_match", Scripted(*values))
    return Control(metric="exact_match", measure=measure, **settings)


def test_the_artifact_is_the_best_state_and_the_summary_says_of_which_step():
    run = Run(followed(0.2, 0.9, 0.9, 0.1, keep="best")).start()
    after_ten = Run(followed(0.2, 0.9, 0.9, 0.1)).start().states[1]
    assert after_ten.counters.step == 10
    assert run.outcome.kept_step == 10
    assert all(torch.equal(tensor, after_ten.tensors[f"adapter/{name}"]) for name, tensor in run.weights().items())
    last = Run(followed(0.2, 0.9, 0.9, 0.1)).start()
    assert last.outcome.kept_step is None
    assert not same(run, last)


def test_the_last_checkpoint_holds_the_last_state_whatever_is_kept():
    """A run that resumes after its last step must find what it would have gone on with."""
    best, last = (Run(followed(0.2, 0.9, 0.3, 0.1, keep=keep)).start().states[-1] for keep in ("best", "last"))
    assert {name for name in best.tensors if not name.startswith("best/")} == set(last.tensors)
    assert all(torch.equal(tensor, best.tensors[name]) for name, tensor in last.tensors.items())


def test_without_a_measurement_that_is_finite_the_last_state_is_kept():
    run = Run(followed(math.nan, math.nan, math.nan, math.nan, keep="best")).start()
    assert run.outcome.kept_step is None
    assert same(run, Run(Control()).start())


def test_patience_ends_the_run_with_a_checkpoint_and_says_why():
    run = Run(followed(0.5, 0.9, 0.9, 0.8, patience=1)).start()
    assert (run.outcome.steps, run.states[-1].counters.step, run.logs[-1].step) == (15, 15, 15)
    assert run.outcome.stopped_early == ("validation exact_match has not improved since step 10 (0.9; 1 measurements)")


def test_patience_that_ends_at_the_last_step_has_stopped_nothing():
    run = Run(followed(0.5, 0.9, 0.9, 0.8, patience=2)).start()
    assert (run.outcome.steps, run.outcome.stopped_early) == (STEPS, None)


def test_a_metric_stands_in_the_row_of_its_step_beside_the_loss():
    run = Run(followed(0.5, 0.75, 0.25, 1.0)).start()
    rows = [log.record() for log in run.logs]
    found = {row["step"]: row["validation_exact_match"] for row in rows if "validation_exact_match" in row}
    assert found == {5: 0.5, 10: 0.75, 15: 0.25, 20: 1.0}
    assert all(row["validation_loss"] is not None for row in rows if row["step"] in found)
    assert run.outcome.validation_loss == rows[-1]["validation_loss"]


def test_the_metric_is_measured_on_the_model_of_that_step():
    items = [Item((row,)) for row in random_rows(ROWS)][:6]
    measure = ValidationMeasure("exact_match", lambda model: mean_loss(model, LanguageTask(items), 96, packing=False))
    run = Run(Control(metric="exact_match", measure=measure)).start()
    measured = [log for log in run.logs if log.validation_metric is not None]
    assert [log.validation_metric[1] for log in measured] == pytest.approx([log.validation_loss for log in measured])
    assert len({log.validation_loss for log in measured}) == 4


@pytest.mark.parametrize("stop", [*range(0, 28, 3), 8, 26])
def test_a_run_that_is_asked_to_stop_goes_on_to_the_same_bytes(stop):
    """At any time, between two batches of a measurement too: it is taken by the next attempt."""
    control = followed(0.2, 0.9, 0.5, 0.95, 0.6, 0.95, 0.7, 0.1, 0.2, 0.3, keep="best", patience=3, times=10)
    whole = Run(control).start()
    assert (whole.outcome.kept_step, whole.outcome.steps) == (8, 14)
    first = Run(control, stop_poll=stop)
    with pytest.raises(StopRequested):
        first.start()
    second = Run(control, state=first.states[-1]).start()
    assert same(second, whole)
    assert outcome(second) == outcome(whole)
    assert [log.step for log in first.logs + second.logs] == list(range(1, 15))


def test_a_stop_request_inside_the_metric_loses_neither_step_nor_measurement():
    control = followed(0.2, 0.9, 0.5, 0.4, keep="best")
    whole = Run(control).start()
    stopping = ValidationMeasure("exact_match", stop_in_the_second(control.measure.measure))
    first = Run(replace(control, measure=stopping), stop_poll=math.inf)
    first.start()
    saved = next(state for state in first.states if state.counters.step == 10)
    assert (saved.counters.validation.step, saved.counters.step) == (5, 10)
    second = Run(control, state=saved).start()
    assert same(second, whole)
    assert outcome(second) == outcome(whole)


def stop_in_the_second(measure):
    calls = []

    def stopped(model):
        calls.append(1)
        if len(calls) == 2:
            raise StopRequested(reason=Reason.PREEMPTED, message="asked to stop", advice="none")
        return measure(model)

    return stopped


ROLLBACK = Control(keep="best", times=10, on_divergence="rollback")


def test_a_loss_that_is_not_finite_rolls_back_and_leaves_the_steps_between_out():
    """Rows 21 to 23 are the eighth and the sixteenth step; checkpoints are after the fifth, tenth and fifteenth."""
    run = Run(ROLLBACK, poison=frozenset({22})).start()
    assert run.outcome.rollbacks == 2
    assert [log.step for log in run.logs] == [step for step in range(1, STEPS + 1) if step not in (8, 16)]
    assert {log.step: log.rolled_back_to for log in run.logs if log.rolled_back_to is not None} == {9: 5, 17: 15}
    assert [log.record()["rolled_back_to"] for log in run.logs if log.step == 9] == [5]
    assert all(torch.isfinite(tensor).all() for tensor in run.weights().values())
    fifth, ninth = run.logs[4], next(log for log in run.logs if log.step == 9)
    assert ninth.tokens - fifth.tokens == sum(random_rows(ROWS)[row].token_ids.size for row in PLAN[8])


def test_without_a_checkpoint_it_goes_back_to_the_start():
    run = Run(ROLLBACK, poison=frozenset({22}), every=None).start()
    assert {log.step: log.rolled_back_to for log in run.logs if log.rolled_back_to is not None} == {9: 0, 17: 0}


def test_a_rise_of_the_smoothed_loss_rolls_back_too():
    control = Control(on_divergence="rollback", divergence_factor=3.0)
    run = Run(control, poison=frozenset({9}), times=300.0, since=11, every=11, validation=False).start()
    assert {log.step: log.rolled_back_to for log in run.logs if log.rolled_back_to is not None} == {13: 11}
    assert run.outcome.rollbacks == 2, "row 9 comes again in the last step"


@pytest.mark.parametrize("times", [math.nan, math.inf])
def test_the_fourth_divergence_fails(times):
    run = Run(ROLLBACK, poison=frozenset({4, 10, 16, 22}), times=times)
    with pytest.raises(DivergedError, match=r"loss (nan|inf), .* at step 8 of 20, after 3 rollbacks"):
        run.start()
    assert all(math.isfinite(float(t.sum())) for state in run.states for t in state.tensors.values())


def test_without_rollback_the_first_divergence_fails_with_its_numbers():
    with pytest.raises(DivergedError, match=r"risen to .* more than 2 times its lowest, .* at step 12 of 20$"):
        Run(Control(divergence_factor=2.0), poison=frozenset({9}), times=300.0, since=11).start()


@pytest.mark.parametrize("poison", [7, 22, 2])
@pytest.mark.parametrize("kill_at", [1, 4, 9, 13, 17, 25, 31])
def test_a_run_that_is_killed_goes_on_to_the_same_bytes_whatever_was_rolled_back(poison, kill_at):
    """Row 7 is in the third, eleventh and nineteenth step, row 22 in the eighth and sixteenth, row 2 in the first."""
    poison = frozenset({poison})
    whole = Run(ROLLBACK, poison=poison).start()
    assert whole.outcome.rollbacks in (2, 3)
    first = Run(ROLLBACK, poison=poison, kill_at=kill_at)
    with contextlib.suppress(Killed):
        first.start()
    second = Run(ROLLBACK, poison=poison, state=first.states[-1] if first.states else None).start()
    assert same(second, whole)
    assert outcome(second) == outcome(whole)


def outcome(run: Run):
    """All of it that does not depend on when it was measured, nor by which attempt."""
    measured = ("tokens_per_second", "supervised_tokens_per_second", "input_stall", "step_seconds")
    return replace(run.outcome, **dict.fromkeys(measured, 0.0), resumed_from_step=None)


def in_processes(**changes) -> RunSettings:
    return RunSettings(plan=[list(step) for step in PLAN], rows=ROWS, **changes)


BEST = in_processes(
    validation=6, control={"keep": "best", "times": 20, "patience": 3}, hyperparameters={"learning_rate": 0.3}
)
LOST = in_processes(control={"on_divergence": "rollback"}, hyperparameters={"learning_rate": 1e30, "warmup_ratio": 0.0})


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory: pytest.TempPathFactory) -> list[list[Ended]]:
    return run_in_processes([BEST, LOST], 2, Path(tmp_path_factory.mktemp("two-processes")))


def test_two_processes_keep_the_same_step_and_stop_at_the_same_one(two_processes: list[list[Ended]]) -> None:
    first, second = two_processes[0]
    alone = run(BEST)
    assert alone.stopped_early is not None
    assert first.kept_step == second.kept_step == alone.kept_step
    assert len(first.losses) == len(alone.losses) < STEPS
    assert all(torch.equal(tensor, second.adapter[name]) for name, tensor in first.adapter.items())


def test_two_processes_roll_back_and_fail_together(two_processes: list[list[Ended]]) -> None:
    first, second = two_processes[1]
    assert first.error == second.error == run(LOST).error
    assert "after 3 rollbacks" in first.error
