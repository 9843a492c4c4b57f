"""What each gate compares, on which side of the boundary it holds, and which gates are refused before anything runs."""

import math
from typing import Any

import pytest

from finetune_api.conditions import Reason
from finetune_api.exit_codes import ExitCode
from finetune_api.report import EvaluationResult, GateResult, MetricResult
from finetune_api.spec.evaluation import Evaluation, Gate
from finetune_api.spec.job import FinetuneJobSpec
from finetune_trainer.errors import GatesFailedError, InfrastructureError, SettingsError
from finetune_trainer.failures import as_failure
from finetune_trainer.gates import check_gates, judge, may_promote, refuse_failed

# Baseline 0.5, tuned 0.75 (0.625 .. 0.875); tuned - baseline 0.25 (0.125 .. 0.375).
SCORE: dict[str, Any] = {
    "name": "accuracy",
    "higher_is_better": True,
    "baseline": 0.5,
    "tuned": 0.75,
    "low": 0.125,
    "high": 0.375,
    "interval": "tango",
    "tuned_low": 0.625,
    "tuned_high": 0.875,
}
# relativeTo, use, op: what is compared
COMPARED = {
    ("absolute", "point", ">="): 0.75,
    ("absolute", "point", ">"): 0.75,
    ("absolute", "point", "<="): 0.75,
    ("absolute", "point", "<"): 0.75,
    ("absolute", "bound", ">="): 0.625,
    ("absolute", "bound", ">"): 0.625,
    ("absolute", "bound", "<="): 0.875,
    ("absolute", "bound", "<"): 0.875,
    ("baseline", "point", ">="): 0.25,
    ("baseline", "point", ">"): 0.25,
    ("baseline", "point", "<="): 0.25,
    ("baseline", "point", "<"): 0.25,
    ("baseline", "bound", ">="): 0.125,
    ("baseline", "bound", ">"): 0.125,
    ("baseline", "bound", "<="): 0.375,
    ("baseline", "bound", "<"): 0.375,
}
# op: whether it holds of a result just below the value, at it, just above it
HOLDS = {">=": (False, True, True), ">": (False, False, True), "<=": (True, True, False), "<": (True, False, False)}


def evaluation(**changes: Any) -> EvaluationResult:
    return EvaluationResult(rows=40, metrics=[MetricResult(**SCORE | changes)])


def judged(result: EvaluationResult, **gate: Any) -> GateResult:
    (found,) = judge([Gate.model_validate({"metric": "accuracy", "value": 0} | gate)], result)
    return found


@pytest.mark.parametrize(("relative_to", "use", "op"), COMPARED)
def test_a_gate_compares_what_it_is_about_and_holds_on_its_side_of_the_value(
    relative_to: str, use: str, op: str
) -> None:
    actual = COMPARED[relative_to, use, op]
    values = (actual + 0.001, actual, actual - 0.001)
    made = [judged(evaluation(), relativeTo=relative_to, use=use, op=op, value=value) for value in values]
    assert [gate.actual for gate in made] == [actual] * 3
    assert tuple(gate.passed for gate in made) == HOLDS[op]


@pytest.mark.parametrize(
    ("gate", "wanted"),
    [
        ({"value": 0.8}, "tuned >= 0.8"),
        ({"value": 20, "op": "<"}, "tuned < 20"),
        ({"value": 0.05, "relativeTo": "baseline", "use": "bound"},
         "tuned - baseline >= 0.05 at the lower end of the interval"),
        ({"value": -1e-3, "op": "<=", "use": "bound"}, "tuned <= -0.001 at the upper end of the interval"),
    ],
)  # fmt: skip
def test_what_was_wanted_is_said_in_words(gate: dict[str, Any], wanted: str) -> None:
    assert judged(evaluation(), **gate).wanted == wanted


def test_a_difference_of_decimal_fractions_meets_the_value_that_it_is_on_paper() -> None:
    assert 0.85 - 0.8 < 0.05
    assert judged(evaluation(baseline=0.8, tuned=0.85), value=0.05, relativeTo="baseline").passed
    assert not judged(evaluation(baseline=0.8, tuned=0.85), value=0.05, op=">", relativeTo="baseline").passed


@pytest.mark.parametrize("op", HOLDS)
@pytest.mark.parametrize("use", ["point", "bound"])
@pytest.mark.parametrize("relative_to", ["absolute", "baseline"])
def test_a_result_that_is_not_a_number_passes_no_gate(op: str, use: str, relative_to: str) -> None:
    lost = dict.fromkeys(("tuned", "low", "high", "tuned_low", "tuned_high"), math.nan)
    gate = judged(evaluation(**lost), op=op, use=use, relativeTo=relative_to)
    assert not gate.passed
    read_again = GateResult.model_validate_json(gate.model_dump_json())
    assert math.isnan(read_again.actual)


def test_a_benchmark_is_gated_by_the_name_of_its_task() -> None:
    result = evaluation().model_copy(update={"benchmarks": [MetricResult(**SCORE | {"name": "arc_easy", "low": -0.1})]})
    gate = judged(result, metric="arc_easy", value=-0.05, relativeTo="baseline", use="bound")
    assert (gate.metric, gate.actual, gate.passed) == ("arc_easy", -0.1, False)


@pytest.mark.parametrize(("missing", "gate"), [({}, {"metric": "f1"}), ({"tuned_low": None}, {"use": "bound"})])
def test_an_evaluation_without_what_a_gate_is_about_is_a_fault_not_a_verdict(
    missing: dict[str, Any], gate: dict[str, Any]
) -> None:
    with pytest.raises(InfrastructureError) as caught:
        judged(evaluation(**missing), **gate)
    assert caught.value.reason is Reason.INTERNAL


@pytest.mark.parametrize(
    ("on_gate_failure", "holds", "promoted", "fails"),
    [
        ("withhold", (True, True), True, False),
        ("withhold", (True, False), False, False),
        ("withhold", (), True, False),
        ("promote", (False, True), True, False),
        ("fail", (True, True), True, False),
        ("fail", (True, False), False, True),
    ],
)
def test_what_follows_from_gates(on_gate_failure: str, holds: tuple[bool, ...], promoted: bool, fails: bool) -> None:
    spec = Evaluation.model_validate({"onGateFailure": on_gate_failure})
    gates = [GateResult(metric=f"m{n}", wanted="tuned >= 1", actual=0.5, passed=each) for n, each in enumerate(holds)]
    assert may_promote(spec, gates) is promoted
    if not fails:
        refuse_failed(spec, gates)
        return
    with pytest.raises(GatesFailedError) as caught:
        refuse_failed(spec, gates)
    assert (caught.value.exit_code, caught.value.reason) == (ExitCode.GATES_FAILED, Reason.GATES_FAILED)
    assert "1 of 2 gates do not hold: m1: wanted tuned >= 1, got 0.5" in caught.value.message
    assert not as_failure(caught.value).retryable


def spec(objective: dict[str, Any], metrics: list[str], *gated: str) -> FinetuneJobSpec:
    return FinetuneJobSpec.model_validate(
        {
            "model": {"uri": "s3://models/base"},
            "data": {"train": [{"uri": "s3://team/rows.jsonl"}]},
            "output": {"uri": "s3://team/out"},
            "objective": objective,
            "evaluation": {
                "metrics": metrics,
                "benchmarks": [{"task": "arc_easy", "uri": "s3://team/arc"}],
                "gates": [{"metric": name, "value": 0} for name in gated],
            },
        }
    )


CLASSIFIER = {"type": "classification", "classification": {"labels": ["good", "bad"]}}


@pytest.mark.parametrize(
    ("objective", "metrics", "gated"),
    [
        ({"type": "sft"}, [], ("loss", "perplexity", "exact_match", "rouge_l", "arc_easy")),
        ({"type": "sft"}, ["chrf"], ("chrf",)),
        ({"type": "continued-pretraining"}, [], ("loss", "perplexity")),
        (CLASSIFIER, [], ("accuracy", "f1", "loss", "arc_easy")),
        ({"type": "preference"}, [], ("pair_accuracy", "loss")),
    ],
)
def test_a_gate_on_what_is_measured_is_accepted(
    objective: dict[str, Any], metrics: list[str], gated: tuple[str, ...]
) -> None:
    check_gates(spec(objective, metrics, *gated))


@pytest.mark.parametrize(
    ("objective", "metrics", "gated"),
    [
        ({"type": "sft"}, [], ("loss", "chrf")),
        ({"type": "sft"}, ["chrf"], ("chrf", "exact_match")),
        (CLASSIFIER, [], ("accuracy", "perplexity")),
        ({"type": "preference"}, [], ("loss", "arc_challenge")),
    ],
)
def test_a_gate_on_something_else_is_refused_by_its_place_and_what_there_is_is_named(
    objective: dict[str, Any], metrics: list[str], gated: tuple[str, ...]
) -> None:
    with pytest.raises(SettingsError, match=rf"spec.evaluation.gates\[1\].metric: .* {gated[1]}") as caught:
        check_gates(spec(objective, metrics, *gated))
    for name in (*metrics, "loss", "arc_easy"):
        assert name in caught.value.advice
