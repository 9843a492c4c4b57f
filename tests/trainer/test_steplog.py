"""What is read of steps, and the row that it makes."""

import json
import math
from dataclasses import replace

import pytest
import torch

from finetune_trainer import steplog
from finetune_trainer.loss import InputTime
from finetune_trainer.state import Counters
from finetune_trainer.steplog import StepLog, StepReader

LOG = StepLog(
    step=3, total_steps=9, loss=0.5, grad_norm=1.0, learning_rate=1e-4, tokens=30, weight=3.0, tokens_per_second=5.0
)


def counters(step: int, tokens: int, weight: float = 0.0) -> Counters:
    return Counters(plan_digest="sha256:0", step=step, tokens=tokens, weight=weight)


def test_the_rate_counts_what_was_computed_also_where_a_rollback_took_it_back():
    times = iter([0.0, 10.0, 10.0, 10.0, 20.0, 20.0])
    reader = StepReader(9, counters(0, 0), lambda: next(times))
    one = torch.tensor(1.0)
    reader.note(counters(1, 100), 1e-4, one, one)
    assert [log.tokens_per_second for log in reader.read()] == [10]
    reader.rewind(counters(1, 0))
    reader.note(counters(2, 60), 1e-4, one, one)
    assert [log.tokens_per_second for log in reader.read()] == [6]
    assert reader.tokens_per_second() == (100 + 60) / 20


def test_the_share_of_input_is_of_the_time_in_steps_alone(monkeypatch):
    monkeypatch.setattr(steplog, "INPUT_TIME", InputTime(5.0))
    times = iter([0.0, 10.0, 10.0, 60.0, 70.0, 70.0])
    reader = StepReader(9, counters(0, 0), lambda: next(times))
    one = torch.tensor(1.0)
    reader.note(counters(1, 100, 20.0), 1e-4, one, one)
    steplog.INPUT_TIME.seconds += 1.0
    (first,) = reader.read()
    assert (first.weight_per_second, first.input_stall, first.step_seconds) == (2.0, 0.1, 10.0)
    # Validation makes batches too, and is no step.
    steplog.INPUT_TIME.seconds += 30.0
    reader.restart()
    reader.note(counters(2, 200, 60.0), 1e-4, one, one)
    steplog.INPUT_TIME.seconds += 3.0
    (second,) = reader.read()
    assert (second.weight_per_second, second.input_stall, second.step_seconds) == (4.0, 0.3, 20.0)
    assert (reader.weight_per_second(), reader.input_stall(), reader.seconds) == (3.0, 0.2, 20.0)


@pytest.mark.parametrize(
    ("changed", "more"),
    [
        ({}, {}),
        ({"validation_loss": 0.25}, {"validation_loss": 0.25}),
        (
            {"validation_loss": 0.25, "validation_metric": ("f1", 0.75)},
            {"validation_loss": 0.25, "validation_f1": 0.75},
        ),
        ({"rolled_back_to": 0}, {"rolled_back_to": 0}),
    ],
)
def test_a_row_has_what_was_measured_under_its_name(changed, more):
    row = json.loads(json.dumps(replace(LOG, **changed).record()))
    plain = {"step": 3, "total_steps": 9, "loss": 0.5, "grad_norm": 1.0, "learning_rate": 1e-4, "tokens": 30}
    speed = {"tokens_per_second": 5.0, "weight_per_second": 0.0, "input_stall": 0.0, "step_seconds": 0.0}
    assert row == plain | speed | {"weight": 3.0, "validation_loss": None} | more


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({}, None),
        ({"loss": math.nan}, "loss nan, gradient norm 1.0"),
        ({"grad_norm": math.inf}, "loss 0.5, gradient norm inf"),
    ],
)
def test_what_is_not_finite_is_a_fault(changed, fault):
    assert replace(LOG, **changed).fault() == fault
