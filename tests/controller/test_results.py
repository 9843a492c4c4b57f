"""What a trainer reports reaches status whole, in texts that the schema takes."""

import cluster_objects as o
import pytest

from finetune_api.report import (
    Estimate,
    EvaluationResult,
    MetricResult,
    ResolvedSetting,
    RivalResult,
    SliceResult,
    TrainingSummary,
)
from finetune_api.status import DataStatus, ProgressStatus
from finetune_operator import results


def metric(baseline: float, tuned: float, **parts: object) -> MetricResult:
    return MetricResult(
        name="f1", higher_is_better=True, baseline=baseline, tuned=tuned, low=0.1, high=0.3, interval="tango", **parts
    )


def test_all_that_preflight_found_reaches_status() -> None:
    shown = results.data_status(o.DATA, o.PREPARED)
    assert (shown.prepared_uri, shown.prepared_digest) == (o.PREPARED.uri, o.PREPARED.digest)
    for name in DataStatus.model_fields.keys() - {"prepared_uri", "prepared_digest"}:
        assert getattr(shown, name) == getattr(o.DATA, name), name


def test_rivals_and_slices_are_shown_with_the_verdict_on_each() -> None:
    rivals = [
        RivalResult(name="majority", score=0.5, low=0.05, high=0.4),
        RivalResult(name="parent", score=0.7, low=-0.1, high=0.1),
    ]
    slices = [SliceResult(name="reviews", rows=12, baseline=0.25, tuned=0.75)]
    shown = results.evaluation_status(
        EvaluationResult(rows=40, metrics=[metric(0.5, 0.7, rivals=rivals)], slices=slices)
    )
    assert [(r.name, r.score, r.verdict) for r in shown.metrics[0].rivals] == [
        ("majority", "0.5000", "better"),
        ("parent", "0.7000", "inconclusive"),
    ]
    assert [(s.name, s.rows, s.baseline, s.tuned) for s in shown.slices] == [("reviews", 12, "0.2500", "0.7500")]
    assert shown.summary == "f1 0.50 -> 0.70"


def test_benchmarks_are_shown_by_task_beside_the_job_s_own_metrics() -> None:
    arc = metric(0.5, 0.4).model_copy(update={"name": "arc_easy", "low": -0.2, "high": -0.05})
    shown = results.evaluation_status(EvaluationResult(rows=40, metrics=[metric(0.5, 0.7)], benchmarks=[arc]))
    assert [(b.name, b.delta, b.verdict) for b in shown.benchmarks] == [("arc_easy", "-0.1000", "worse")]
    assert shown.summary == "f1 0.50 -> 0.70"


@pytest.mark.parametrize("huge", [1e15, 1e300, -1e300])
def test_a_number_of_hundreds_of_digits_is_written_with_an_exponent(huge: float) -> None:
    shown = results.evaluation_status(EvaluationResult(rows=1, metrics=[metric(1.0, huge)]))
    assert float(shown.metrics[0].tuned) == huge
    assert float(shown.metrics[0].delta) == pytest.approx(huge)
    assert len(shown.summary) < 32


@pytest.mark.parametrize(("why", "total"), [(None, 40), ("validation loss has not improved since step 30", 100)])
def test_a_run_that_stopped_early_is_done_after_fewer_steps_than_it_planned(why: str | None, total: int) -> None:
    last = ProgressStatus(stage="training", step=38, total_steps=100, percent="38%")
    training = TrainingSummary(steps=40, tokens=1, final_loss=0.5, tokens_per_second=9.0, stopped_early=why)
    shown = results.finished_progress(training, last)
    assert (shown.stage, shown.step, shown.total_steps, shown.percent) == ("done", 40, total, "100%")
    assert results.finished_progress(training, None).total_steps == 40


def test_at_most_sixteen_settings_are_shown_each_within_the_schema() -> None:
    settings = [ResolvedSetting(name=f"training.s{n}", value="v" * 300, why="w" * 2000) for n in range(20)]
    shown = results.settings_status(settings)
    assert [each.name for each in shown] == [f"training.s{n}" for n in range(16)]
    assert {(len(each.value), len(each.why)) for each in shown} == {(128, 256)}


def test_an_estimate_reads_well() -> None:
    estimate = Estimate(memory_bytes=5_600_000_000, parts={}, available_bytes=80 * 2**30, steps=30, tokens=36000)
    shown = results.estimate_status(estimate)
    assert (shown.memory, shown.available, shown.steps, shown.tokens) == ("5.2Gi", "80Gi", 30, 36000)


def test_a_whole_model_is_no_adapter() -> None:
    assert results.artifact_status(o.ARTIFACT.model_copy(update={"kind": "model"})).kind == "model"
