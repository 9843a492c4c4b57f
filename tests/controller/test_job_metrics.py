"""What is counted when one status takes another's place: each change once, under words of ours."""

from datetime import UTC, datetime
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from finetune_api.status import FinetuneJobStatus
from finetune_operator.cache import Cache, StoredJob
from finetune_operator.job_metrics import JobMetrics, JobsNow

NOW = datetime(2026, 1, 1, 1, 0, tzinfo=UTC)


def at(minute: int) -> str:
    return f"2026-01-01T00:{minute:02d}:00Z"


def status(**parts: Any) -> FinetuneJobStatus:
    return FinetuneJobStatus.model_validate(parts)


def condition(kind: str, truth: str, reason: str, since: int) -> dict[str, Any]:
    told = {"type": kind, "status": truth, "reason": reason, "message": "", "observedGeneration": 1}
    return {**told, "lastTransitionTime": at(since)}


def attempt(uid: str = "a", **parts: Any) -> dict[str, Any]:
    return {"pod": uid, "uid": uid, "outcome": "Running", "startedAt": at(10), **parts}


def ended(uid: str = "a", outcome: str = "Failed", reason: str | None = "GpuFault", **parts: Any) -> dict[str, Any]:
    return attempt(uid, outcome=outcome, reason=reason, finishedAt=at(20), **parts)


class Counted:
    """Metrics of jobs, and the values that are not zero."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.metrics = JobMetrics(self.registry)

    def after(self, before: FinetuneJobStatus, after: FinetuneJobStatus) -> dict[str, float]:
        self.metrics.changed("team", before, after, NOW)
        return self.values()

    def values(self) -> dict[str, float]:
        samples = [sample for family in self.registry.collect() for sample in family.samples]
        return {
            "/".join(
                [sample.name.removeprefix("finetune_"), *(v for k, v in sample.labels.items() if k != "namespace")]
            ): (sample.value)
            for sample in samples
            if sample.value and not sample.name.endswith(("_bucket", "_created"))
        }


@pytest.fixture
def counted() -> Counted:
    return Counted()


def test_an_attempt_that_ends_is_counted_once(counted: Counted) -> None:
    before, after = status(attempts=[attempt()]), status(attempts=[ended(gpuSeconds=600, lostSteps=7)])
    expected = {"gpu_seconds_total/Failed": 600.0, "lost_steps_total": 7.0}
    assert counted.after(before, after) == expected
    assert counted.after(after, after) == expected


def test_a_preemption_is_the_cluster_s_doing_and_not_the_user_s(counted: Counted) -> None:
    before, gone = status(attempts=[attempt()]), [ended(outcome="Preempted", reason="Preempted")]
    paused = [condition("Suspended", "True", "SuspendedByUser", 20)]
    assert counted.after(before, status(attempts=gone, conditions=paused)) == {}
    assert counted.after(before, status(attempts=gone)) == {"preemptions_total/Preempted": 1.0}


@pytest.mark.parametrize(
    ("conditions", "reason"),
    [
        ([], "GpuFault"),
        ([condition("Suspended", "False", "Resumed", 30)], "SuspendedByUser"),
        # A suspension before that attempt did not end it.
        ([condition("Suspended", "False", "Resumed", 5)], "GpuFault"),
    ],
)
def test_a_restart_has_the_reason_of_the_end_before_it(counted: Counted, conditions: list[Any], reason: str) -> None:
    before = status(attempts=[ended()])
    after = status(attempts=[ended(), attempt("b", startedAt=at(40))], conditions=conditions)
    assert counted.after(before, after) == {f"restarts_total/{reason}": 1.0}
    assert counted.after(after, after) == {f"restarts_total/{reason}": 1.0}


def test_the_first_attempt_is_no_restart(counted: Counted) -> None:
    assert counted.after(status(), status(attempts=[attempt()])) == {}


def test_a_queue_wait_ends_when_the_queue_lets_the_job_run(counted: Counted) -> None:
    waiting = status(conditions=[condition("Queued", "True", "WaitingForQuota", 2)])
    stopped = status(conditions=[condition("Queued", "False", "SuspendedByUser", 9)])
    admitted = status(conditions=[condition("Queued", "False", "Admitted", 12)])
    assert counted.after(waiting, stopped) == {}
    assert counted.after(waiting, admitted) == {"queue_wait_seconds_count": 1.0, "queue_wait_seconds_sum": 600.0}


@pytest.mark.parametrize(
    ("freed", "seconds"),
    [
        ([], 480.0),
        ([condition("Queued", "False", "Admitted", 6)], 240.0),
        ([condition("Queued", "False", "Admitted", 6), condition("Suspended", "False", "Resumed", 9)], 60.0),
    ],
)
def test_a_pod_s_start_begins_when_nothing_but_the_cluster_keeps_it_back(
    counted: Counted, freed: list[Any], seconds: float
) -> None:
    before = status(conditions=[condition("Running", "False", "TrainerStarting", 2)])
    running = [condition("Running", "True", "TrainerRunning", 11), *freed]
    found = counted.after(before, status(conditions=running, attempts=[attempt()]))
    assert found == {"pod_start_seconds_count": 1.0, "pod_start_seconds_sum": seconds}


def test_the_first_step_is_the_first_that_this_attempt_did_itself(counted: Counted) -> None:
    begun = status(attempts=[attempt(resumedFromStep=40, step=40)])
    first, second = (status(attempts=[attempt(resumedFromStep=40, step=step)]) for step in (41, 42))
    expected = {"first_step_seconds_count": 1.0, "first_step_seconds_sum": 3000.0}
    assert counted.after(begun, begun) == {}
    assert counted.after(begun, first) == expected
    assert counted.after(first, second) == expected


def test_what_was_seen_only_at_its_end_tells_no_first_step(counted: Counted) -> None:
    before = status(attempts=[attempt()])
    assert counted.after(before, status(attempts=[ended(outcome="Succeeded", reason=None, step=9)])) == {}


def test_useful_gpu_time_counts_when_the_result_is_there(counted: Counted) -> None:
    failure = {"class": "Infrastructure", "reason": "Hung", "message": "", "advice": "", "retryable": True}
    counted.metrics.finished("team", status(phase="Failed", failure=failure, usefulGpuSeconds=50, runSeconds=60))
    assert "useful_gpu_seconds_total" not in counted.values()
    counted.metrics.finished("team", status(phase="Complete", usefulGpuSeconds=400, runSeconds=500))
    assert counted.values() == {
        "jobs_finished_total/Failed/Infrastructure": 1.0,
        "jobs_finished_total/Complete/": 1.0,
        "failures_total/Hung": 1.0,
        "run_seconds_count/Failed": 1.0,
        "run_seconds_sum/Failed": 60.0,
        "run_seconds_count/Complete": 1.0,
        "run_seconds_sum/Complete": 500.0,
        "useful_gpu_seconds_total": 400.0,
    }


def test_a_namespace_begins_with_zeros_so_that_its_first_event_is_an_increase(counted: Counted) -> None:
    counted.after(status(), status())
    zeros = [
        sample for family in counted.registry.collect() for sample in family.samples if "namespace" in sample.labels
    ]
    assert len([sample for sample in zeros if not sample.name.endswith("_created")]) == 16
    assert {sample.labels["namespace"] for sample in zeros} == {"team"}


def test_jobs_are_counted_as_they_stand_and_leave_nothing_behind() -> None:
    cache, registry = Cache(), CollectorRegistry()
    registry.register(JobsNow(cache))
    stuck = [{"type": "Stalled", "status": "True", "reason": "QuotaExceeded"}]
    at_work = {"phase": "Running", "progress": {"stage": "training"}}
    statuses = {
        "1": {**at_work, "attempts": [{"startedAt": at(10)}], "checkpoint": {"savedAt": at(5)}},
        "2": {**at_work, "attempts": [{"startedAt": at(10)}], "checkpoint": {"savedAt": at(30)}},
        "3": {"phase": "Running", "progress": {"stage": "evaluating"}, "checkpoint": {"savedAt": at(1)}},
        "4": {"phase": "Starting", "conditions": stuck},
        "5": {"phase": "Failed", "conditions": stuck},
    }
    for uid, told in statuses.items():
        metadata = {"namespace": "team", "name": uid, "uid": uid, "resourceVersion": "1"}
        cache.put_finetune_job(StoredJob.pack({"metadata": metadata, "status": told}))

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"finetune_{name}", {"namespace": "team", **labels})

    assert value("jobs", phase="Running") == 3
    assert value("jobs_stalled", reason="QuotaExceeded") == 1
    # What was saved before this attempt began is not lost with it.
    assert value("oldest_checkpoint_timestamp_seconds") == datetime(2026, 1, 1, 0, 10, tzinfo=UTC).timestamp()
    for uid in statuses:
        cache.remove("finetunejobs", uid)
    assert not [sample for family in registry.collect() for sample in family.samples]
