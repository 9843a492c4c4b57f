"""Prometheus metrics of FinetuneJobs, for those who own the cluster: sums and distributions over jobs.

What happened to a job is read from what its status was and has become, once that is stored: the same change is never
counted twice. No label is a job's name. Labels are namespaces that have jobs, and words of ours (phases, reasons); only
counters and gauges have a namespace, because a histogram would be a dozen series for each.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Final, get_args

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from finetune_api.conditions import ConditionType, Reason
from finetune_api.exit_codes import FailureClass
from finetune_api.status import AttemptStatus, FinetuneJobStatus
from finetune_operator import clock
from finetune_operator.attempts import newly_finished
from finetune_operator.cache import Cache
from finetune_operator.conditions import find, is_true

_MINUTE: Final = 60
_HOUR: Final = 3600
_WAITS: Final = (1, 10, 60, 300, 900, _HOUR, 3 * _HOUR, 6 * _HOUR, 12 * _HOUR, 24 * _HOUR, 72 * _HOUR)
_STARTS: Final = (1, 5, 10, 30, _MINUTE, 120, 300, 600, 1800, _HOUR)
_RUNS: Final = (60, 300, 900, 1800, _HOUR, 3 * _HOUR, 6 * _HOUR, 12 * _HOUR, 24 * _HOUR, 72 * _HOUR, 168 * _HOUR)
_OF_A_USER: Final = frozenset({Reason.SUSPENDED_BY_USER, Reason.RESUMED})


class JobMetrics:
    """Counts what becomes of jobs."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, meaning: str, *labels: str) -> Counter:
            return Counter(f"finetune_{name}", meaning, ["namespace", *labels], registry=registry)

        def histogram(name: str, meaning: str, buckets: tuple[int, ...], *labels: str) -> Histogram:
            return Histogram(f"finetune_{name}_seconds", meaning, labels, registry=registry, buckets=buckets)

        self._finished = counter("jobs_finished", "Jobs that ended; class is that of the failure", "phase", "class")
        self._failures = Counter(
            "finetune_failures", "Jobs that failed, and with what reason", ["reason"], registry=registry
        )
        self._restarts = counter("restarts", "Attempts that followed another, by what ended that one", "reason")
        self._preemptions = counter("preemptions", "Attempts that the cluster ended", "reason")
        self._lost_steps = counter("lost_steps", "Optimiser steps that had to be done again")
        self._gpu_seconds = counter("gpu_seconds", "Time that ended attempts held GPUs, times their number", "outcome")
        self._useful = counter("useful_gpu_seconds", "Of complete jobs, GPU seconds of steps that are in the result")
        self._queue_wait = histogram("queue_wait", "From the queue's first look at a job until it let it run", _WAITS)
        self._pod_start = histogram("pod_start", "From when a trainer may start until its container runs", _STARTS)
        self._first_step = histogram("first_step", "From a trainer's start until its first step was told", _STARTS)
        self._run = histogram("run", "Time that the attempts of a job that ended took, summed", _RUNS, "phase")

    def changed(self, namespace: str, before: FinetuneJobStatus, after: FinetuneJobStatus, now: datetime) -> None:
        """A status was stored in place of another."""
        self._begin(namespace)
        for attempt in newly_finished(before.attempts, after.attempts):
            self._ended(namespace, attempt, after)
        self._restarted(namespace, before, after)
        if (wait := queue_wait(before, after)) is not None:
            self._queue_wait.observe(wait)
        if (start := pod_start(before, after)) is not None:
            self._pod_start.observe(start)
        if (first := first_step(before, after, now)) is not None:
            self._first_step.observe(first)

    def finished(self, namespace: str, status: FinetuneJobStatus) -> None:
        """A job ended."""
        failure = status.failure
        self._finished.labels(namespace, status.phase, failure.failure_class if failure is not None else "").inc()
        if failure is not None:
            self._failures.labels(reason=failure.reason).inc()
        self._run.labels(phase=status.phase).observe(status.run_seconds)
        if status.phase == "Complete":
            self._useful.labels(namespace=namespace).inc(status.useful_gpu_seconds)

    def _begin(self, namespace: str) -> None:
        """Show zeros before anything is counted: Prometheus sees no increase in a series that begins at 1."""
        self._useful.labels(namespace=namespace)
        self._lost_steps.labels(namespace=namespace)
        for outcome in ("Succeeded", "Failed", "Preempted"):
            self._gpu_seconds.labels(namespace=namespace, outcome=outcome)
        for phase, failure_class in (("Complete", ""), *(("Failed", each) for each in get_args(FailureClass))):
            self._finished.labels(namespace, phase, failure_class)

    def _ended(self, namespace: str, attempt: AttemptStatus, status: FinetuneJobStatus) -> None:
        self._gpu_seconds.labels(namespace=namespace, outcome=attempt.outcome).inc(attempt.gpu_seconds or 0)
        self._lost_steps.labels(namespace=namespace).inc(attempt.lost_steps or 0)
        by_user = any(condition.reason == Reason.SUSPENDED_BY_USER for condition in status.conditions)
        if attempt.outcome == "Preempted" and not by_user:
            self._preemptions.labels(namespace=namespace, reason=attempt.reason or "").inc()

    def _restarted(self, namespace: str, before: FinetuneJobStatus, after: FinetuneJobStatus) -> None:
        known = {attempt.uid for attempt in before.attempts}
        for earlier, attempt in zip(after.attempts, after.attempts[1:], strict=False):
            if attempt.uid not in known:
                self._restarts.labels(namespace=namespace, reason=_why_again(earlier, after)).inc()


class JobsNow(Collector):
    """Jobs as they stand, counted when Prometheus asks: no event can be missed, and what is gone leaves no series."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The families."""
        phases = GaugeMetricFamily("finetune_jobs", "FinetuneJobs", labels=["namespace", "phase"])
        for (namespace, phase), count in self._cache.phases().items():
            phases.add_metric([namespace, phase], count)
        yield phases
        stalled = GaugeMetricFamily(
            "finetune_jobs_stalled", "Jobs that cannot go on without somebody's help", labels=["namespace", "reason"]
        )
        for (namespace, reason), count in self._cache.stalled().items():
            stalled.add_metric([namespace, reason], count)
        yield stalled
        saved = GaugeMetricFamily(
            "finetune_oldest_checkpoint_timestamp_seconds",
            "When the training job whose state is the oldest saved it, or began",
            labels=["namespace"],
        )
        for namespace, moment in self._cache.oldest_checkpoints().items():
            saved.add_metric([namespace], clock.parse(moment).timestamp())
        yield saved


def queue_wait(before: FinetuneJobStatus, after: FinetuneJobStatus) -> int | None:
    """Seconds that a job has waited in its queue, if it was let in just now."""
    then, now = (find(status.conditions, ConditionType.QUEUED) for status in (before, after))
    if then is None or now is None or then.status != "True" or now.reason != Reason.ADMITTED:
        return None
    return clock.seconds_between(then.last_transition_time, now.last_transition_time)


def pod_start(before: FinetuneJobStatus, after: FinetuneJobStatus) -> int | None:
    """Seconds from when nothing but the cluster kept a trainer from starting, if it runs just now."""
    was = find(before.conditions, ConditionType.RUNNING)
    if was is None or was.status == "True" or not is_true(after.conditions, ConditionType.RUNNING):
        return None
    freed = [find(after.conditions, kind) for kind in (ConditionType.QUEUED, ConditionType.SUSPENDED)]
    began = max(each.last_transition_time for each in (was, *freed) if each is not None)
    started = after.attempts[-1].started_at if after.attempts else None
    return clock.seconds_between(began, started) if started is not None else None


def first_step(before: FinetuneJobStatus, after: FinetuneJobStatus, now: datetime) -> int | None:
    """Seconds from the start of the attempt at work, if it told of its first step just now."""
    known = {attempt.uid: attempt for attempt in before.attempts}
    newest = after.attempts[-1] if after.attempts else None
    if newest is None or newest.finished_at is not None or newest.started_at is None or not _has_stepped(newest):
        return None
    earlier = known.get(newest.uid)
    is_news = earlier is not None and not _has_stepped(earlier)
    return clock.seconds_between(newest.started_at, clock.stamp(now)) if is_news else None


def _has_stepped(attempt: AttemptStatus) -> bool:
    return (attempt.step or 0) > (attempt.resumed_from_step or 0)


def _why_again(earlier: AttemptStatus, status: FinetuneJobStatus) -> str:
    """What ended the attempt before; a user's suspension looks like any other stop to the trainer."""
    paused = find(status.conditions, ConditionType.SUSPENDED)
    if (
        paused is not None
        and paused.reason in _OF_A_USER
        and paused.last_transition_time >= (earlier.finished_at or "")
    ):
        return Reason.SUSPENDED_BY_USER
    return earlier.reason or ""
