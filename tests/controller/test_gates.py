"""What status, conditions and events say of gates."""

from typing import Any

import cluster_objects as o
import pytest
from scenarios import TRAIN, VALIDATED, Known, Scenario, check, decision

from finetune_api.conditions import ConditionType, Reason
from finetune_api.names import Kind
from finetune_api.report import EvaluationResult, GateResult
from finetune_operator.conditions import find, is_true
from finetune_operator.decide import Decision

HELD = GateResult(metric="exact_match", wanted="tuned >= 0.5", actual=0.82, passed=True)
FAILED = GateResult(metric="loss", wanted="tuned - baseline < 0", actual=0.25, passed=False)
POINTER = "s3://out/tune/promoted.json"
PREFLIGHT_JOB = o.child_job("preflight", o.condition("Failed", "PodFailurePolicy"))
TRAIN_JOB = o.child_job("train", o.condition("Failed", "PodFailurePolicy"))


def evaluation(*gates: GateResult) -> EvaluationResult:
    return o.EVALUATION.model_copy(update={"gates": list(gates)})


def completed(*gates: GateResult, promoted: str | None = None) -> Decision:
    artifact = o.ARTIFACT.model_copy(update={"promoted_uri": promoted})
    words = o.report("train", data=o.DATA, training=o.TRAINING, evaluation=evaluation(*gates), artifact=artifact)
    return decision(Known(status=VALIDATED, jobs=(TRAIN,), pods=(o.ended("train", 0, words),)))


def failing(kind: Kind, **parts: Any) -> o.Raw:
    """The last pod of a job that a gate fails."""
    message = "1 of 2 gates do not hold: loss: wanted tuned - baseline < 0, got 0.25"
    result = {"evaluation": evaluation(HELD, FAILED), "artifact": o.ARTIFACT, "data": o.DATA, **parts}
    return o.ended(kind, 15, o.failed_report(kind, "Gates", Reason.GATES_FAILED, message, **result))


def told(made: Decision) -> tuple[str, str, str] | None:
    condition = find(made.status.conditions, ConditionType.GATE_PASSED)
    return (condition.status, condition.reason, condition.message) if condition is not None else None


def events(made: Decision) -> list[tuple[str, str]]:
    """What is told beside the passed preflight."""
    return [(each.type, each.reason) for each in made.milestones if each.reason != "PreflightPassed"]


def test_a_job_without_gates_says_nothing_of_them() -> None:
    assert told(completed()) is None


def test_gates_that_hold_are_told_and_so_is_the_pointer() -> None:
    made = completed(HELD, promoted=POINTER)
    assert told(made) == ("True", "GatesHold", "Every gate holds")
    assert made.status.artifact is not None
    assert made.status.artifact.promoted_uri == POINTER
    assert events(made) == [("Normal", "AdapterReady")]


def test_a_withheld_result_is_complete_with_a_gate_that_names_what_was_wanted_and_what_came() -> None:
    made = completed(HELD, FAILED)
    assert told(made) == ("False", "GatesFailed", "loss: got 0.2500, wanted tuned - baseline < 0")
    assert made.status.phase == "Complete"
    assert made.status.evaluation is not None
    assert [(g.metric, g.wanted, g.actual, g.passed) for g in made.status.evaluation.gates] == [
        ("exact_match", "tuned >= 0.5", "0.8200", True),
        ("loss", "tuned - baseline < 0", "0.2500", False),
    ]
    assert made.status.artifact is not None
    assert made.status.artifact.promoted_uri is None


def test_a_withheld_result_is_no_stalled_object_and_warns_once() -> None:
    made = completed(FAILED)
    assert not is_true(made.status.conditions, ConditionType.STALLED)
    assert not is_true(made.status.conditions, ConditionType.RECONCILING)
    assert events(made) == [("Warning", "GatesFailed"), ("Normal", "AdapterReady")]


SCENARIOS = {
    "a gate that is to fail the job fails it without another attempt": Scenario(
        status=VALIDATED,
        jobs=(TRAIN_JOB,),
        pods=(failing("train", training=o.TRAINING),),
        phase="Failed",
        reason="GatesFailed",
        says="loss: wanted tuned - baseline < 0, got 0.25",
    ),
    "preflight finds such a result before a GPU is asked for": Scenario(
        jobs=(PREFLIGHT_JOB,),
        pods=(failing("preflight", adopted=True),),
        phase="Failed",
        reason="GatesFailed",
    ),
}


@pytest.mark.parametrize("case", SCENARIOS.values(), ids=SCENARIOS)
def test_scenario(case: Scenario) -> None:
    check(case)


@pytest.mark.parametrize("case", SCENARIOS.values(), ids=SCENARIOS)
def test_a_job_that_a_gate_fails_still_shows_its_numbers_and_where_the_artifact_is(case: Scenario) -> None:
    checkpoint = {"step": 20, "uri": "s3://out/tune/checkpoints/0001-00000020/", "savedAt": o.START}
    made = decision(Known(status={**case.status, "checkpoint": checkpoint}, jobs=case.jobs, pods=case.pods))
    told_of = told(made)
    assert told_of is not None
    assert told_of[0] == "False"
    assert made.status.evaluation is not None
    assert made.status.evaluation.summary == "exact_match 0.05 -> 0.82"
    assert made.status.artifact is not None
    assert made.status.artifact.uri == o.ARTIFACT.uri
    assert made.status.checkpoint is None  # removed with the commit
    assert made.status.failure is not None
    assert (made.status.failure.failure_class, made.status.failure.retryable) == ("Gates", False)
    assert events(made) == [("Warning", "GatesFailed")]


def test_an_attempt_whose_result_a_gate_refuses_has_lost_nothing() -> None:
    made = decision(Known(status=VALIDATED, jobs=(TRAIN_JOB,), pods=(failing("train", training=o.TRAINING),)))
    (attempt,) = made.status.attempts
    assert (attempt.outcome, attempt.reason, attempt.lost_steps) == ("Failed", "GatesFailed", None)


def test_a_gate_whose_wish_was_dropped_for_room_is_told_without_it() -> None:
    made = completed(FAILED.model_copy(update={"wanted": ""}))
    assert told(made) == ("False", "GatesFailed", "loss: got 0.2500")


def test_a_result_that_is_not_a_number_reaches_status() -> None:
    made = completed(FAILED.model_copy(update={"actual": float("nan")}))
    assert told(made) == ("False", "GatesFailed", "loss: got nan, wanted tuned - baseline < 0")
