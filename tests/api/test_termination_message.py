"""The termination message always fits, and what matters most is dropped last."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune_api.conditions import Reason
from finetune_api.report import (
    Artifact,
    DataSummary,
    EvaluationResult,
    Failure,
    GateResult,
    MetricResult,
    RivalResult,
    SavedCheckpoint,
    TrainerReport,
    TrainingSummary,
)
from finetune_api.termination_message import TERMINATION_MESSAGE_BYTES, compact

DIGEST = f"sha256:{'0' * 64}"
LONGEST_URI = f"s3://bucket/{'k' * 1012}/runs/0001/"
DATA = DataSummary(
    digest=DIGEST, train_rows=10**9, validation_rows=10**9, test_rows=10**9, train_tokens=10**15,
    supervised_tokens=10**15, longest_row=131072, truncated_rows=10**9,
)  # fmt: skip
TRAINING = TrainingSummary(
    steps=10**7, tokens=10**15, weight=1e15, final_loss=1 / 3, validation_loss=1 / 3,
    tokens_per_second=1e5 / 3,
)  # fmt: skip


def metric(name: str, low: float = 1 / 3, high: float = 2 / 3, *, higher_is_better: bool = True) -> MetricResult:
    return MetricResult(
        name=name, higher_is_better=higher_is_better, baseline=1 / 3, tuned=2 / 3, low=low, high=high,
        rivals=[RivalResult(name="few_shot", score=1 / 3, low=-1 / 3, high=1 / 3)], interval="bootstrap",
    )  # fmt: skip


def report(**fields: object) -> TrainerReport:
    return TrainerReport(kind="train", outcome="succeeded", spec_digest=DIGEST, **fields)


LARGEST = report(
    report_uri=LONGEST_URI,
    page_uri=LONGEST_URI,
    epoch=9999,
    data=DATA,
    training=TRAINING,
    evaluation=EvaluationResult(
        rows=10**5,
        metrics=[metric(f"metric_{number}") for number in range(10)],
        benchmarks=[metric(f"benchmark_{number}" + "_" * 50) for number in range(8)],
    ),
    artifact=Artifact(uri=LONGEST_URI, digest=DIGEST, size_bytes=10**12, verified=True, loss_difference=1e-9),
    checkpoint=SavedCheckpoint(step=10**7, uri=LONGEST_URI, saved_at="2026-01-31T12:00:00Z"),
    libraries={f"library-{number}": "1.2.3" for number in range(20)},
)


def failure(message: str) -> Failure:
    return Failure(
        failure_class="Data", reason=Reason.DATASET_INVALID, message=message, advice=message, retryable=False
    )


@given(st.text(max_size=6000))
def test_any_report_fits_into_a_termination_message(message: str) -> None:
    text = compact(LARGEST.model_copy(update={"outcome": "failed", "failure": failure(message)}))
    assert len(text.encode()) <= TERMINATION_MESSAGE_BYTES
    assert TrainerReport.model_validate_json(text).failure.reason is Reason.DATASET_INVALID


@pytest.mark.parametrize(
    "character", ["\0", '"', "\N{GRINNING FACE}", "\\"], ids=["control", "quote", "emoji", "slash"]
)
def test_texts_that_grow_when_encoded_fit_too(character: str) -> None:
    text = compact(LARGEST.model_copy(update={"failure": failure(character * 5000)}))
    assert len(text.encode()) <= TERMINATION_MESSAGE_BYTES


def test_a_small_report_is_kept_whole() -> None:
    small = report(data=DATA, training=TRAINING, libraries={"torch": "2.11"})
    assert TrainerReport.model_validate_json(compact(small)) == small


def test_pointer_artifact_and_headline_outlive_everything_else() -> None:
    kept = TrainerReport.model_validate_json(compact(LARGEST))
    assert kept.report_uri == LARGEST.report_uri
    assert kept.artifact == LARGEST.artifact
    assert kept.evaluation.metrics[0] == LARGEST.evaluation.metrics[0]
    assert kept.libraries == {}


def test_a_field_that_only_a_newer_trainer_knows_is_ignored() -> None:
    text = compact(report()).removesuffix("}") + ',"fromTheFuture":1}'
    assert TrainerReport.model_validate_json(text) == report()


@pytest.mark.parametrize(
    ("low", "high", "higher_is_better", "verdict"),
    [
        (0.1, 0.2, True, "better"),
        (-0.2, -0.1, True, "worse"),
        (-0.2, -0.1, False, "better"),
        (0.1, 0.2, False, "worse"),
        (-0.1, 0.1, True, "inconclusive"),
        (0.0, 0.1, True, "inconclusive"),
    ],
)
def test_a_verdict_needs_an_interval_without_zero(
    low: float, high: float, higher_is_better: bool, verdict: str
) -> None:
    assert metric("any", low, high, higher_is_better=higher_is_better).verdict == verdict


def gated(held: int, failed: int, **fields: object) -> TrainerReport:
    gates = [
        GateResult(metric="m" * 64, wanted="tuned - baseline >= 0.123456789 at the lower end of the interval",
                   actual=1 / 3, passed=index >= failed)
        for index in range(held + failed)
    ]  # fmt: skip
    evaluation = LARGEST.evaluation.model_copy(update={"gates": gates})
    return LARGEST.model_copy(update={"evaluation": evaluation, **fields})


def test_whether_each_gate_held_outlives_all_metrics_but_the_headline() -> None:
    report = gated(2, 2)
    kept = TrainerReport.model_validate_json(compact(report)).evaluation
    assert [gate.passed for gate in kept.gates] == [False, False, True, True]


@pytest.mark.parametrize(("held", "failed"), [(16, 0), (0, 16), (15, 1), (8, 8)])
def test_a_report_with_every_gate_and_the_longest_uris_fits_and_says_whether_all_held(held: int, failed: int) -> None:
    promoted = LARGEST.artifact.model_copy(update={"promoted_uri": LONGEST_URI[:915]})
    text = compact(gated(held, failed, artifact=promoted))
    assert len(text.encode()) <= TERMINATION_MESSAGE_BYTES
    gates = TrainerReport.model_validate_json(text).evaluation.gates
    assert gates
    assert all(gate.passed for gate in gates) is (failed == 0)


def test_what_failed_gates_wanted_outlives_what_the_others_did() -> None:
    usual = gated(8, 2, artifact=None, report_uri="s3://bucket/report.json", checkpoint=None)
    kept = TrainerReport.model_validate_json(compact(usual)).evaluation.gates
    assert [bool(gate.wanted) for gate in kept] == [True] * 2 + [False] * 8


def test_a_number_that_is_not_finite_survives_the_way_to_the_operator() -> None:
    lost = report(evaluation=EvaluationResult(rows=1, metrics=[metric("loss", float("nan"), float("inf"))]))
    found = TrainerReport.model_validate_json(compact(lost)).evaluation.metrics[0]
    assert math.isnan(found.low)
    assert math.isinf(found.high)
