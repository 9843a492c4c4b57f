"""How a child Job stands, told from the Job and its pods: the same for preflight and for training."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from finetune_api.conditions import Reason
from finetune_api.exit_codes import ExitCode
from finetune_api.report import TrainerReport
from finetune_api.status import FailureStatus
from finetune_operator import clock
from finetune_operator.children import ChildJob, ChildPod
from finetune_operator.failures import failure, failure_of
from finetune_operator.observe import Child
from finetune_operator.policies.hopeless import about_to_end, hopeless
from finetune_operator.queue_view import PATIENCE as QUEUE_PATIENCE
from finetune_operator.queue_view import QueueView, queue_view
from finetune_operator.wait import Wait

CREATING_PATIENCE: Final = timedelta(seconds=60)
"""After this long without a started container a volume is probably missing, which only the pod's events tell."""
UNSCHEDULABLE_PATIENCE: Final = timedelta(seconds=10)
"""A node that is just being freed, by this very job's preflight for one, is no news."""
POD_PATIENCE: Final = timedelta(seconds=30)
"""The Job controller creates a first pod at once; what keeps it from doing so is told in the Job's events alone."""
SETTLING: Final = timedelta(seconds=15)
"""Jobs and pods come on watches of their own: the end of a Job may be heard of before that of its pod."""

_PULL_FAILURES: Final = frozenset({"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"})


class Stand(StrEnum):
    """How a child Job stands."""

    MISSING = "missing"
    TERMINATING = "terminating"
    QUEUED = "queued"
    """Kueue keeps it waiting."""
    HELD = "held"
    """Somebody else has suspended it, or taken it out of its queue."""
    STARTING = "starting"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    LOST = "lost"
    """It ended well and its report cannot be read."""
    FAILED = "failed"
    """It ended, and no other pod follows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildView:
    """How a child Job stands, and why."""

    stand: Stand
    reason: Reason = Reason.PENDING
    message: str = ""
    """What keeps it from running; empty if nothing does."""
    report: TrainerReport | None = None
    """Of a pod that succeeded."""
    failure: FailureStatus | None = None
    refused: TrainerReport | None = None
    """What was reported of a result that its gates refuse."""
    exhausted: bool = False
    """Whether it failed because no retry was left."""
    attempt: str = ""
    """`attempt 2 of 4, after StorageUnavailable`; empty for the first."""
    queue: QueueView | None = None
    """How it stands with Kueue, if Kueue has a say."""
    stalled: bool = False
    """Whether it cannot go on without somebody's help."""
    wait: Wait | None = None
    """What keeps it from running and may never end."""
    recheck_after: float | None = None
    """Seconds until time alone can change the view."""


def view(child: Child | None, spec_digest: str, now: datetime) -> ChildView:
    """How a child Job stands."""
    if child is None:
        return ChildView(stand=Stand.MISSING)
    report = _result(child.pods, spec_digest)
    if report is not None:
        return ChildView(stand=Stand.SUCCEEDED, report=report)
    if child.job.deleting:
        return ChildView(stand=Stand.TERMINATING)
    why = hopeless(child) if not child.job.finished else None
    if why is not None:
        return ChildView(stand=Stand.FAILED, failure=why)
    return _finished(child, now) if child.job.finished else _unfinished(child, now)


def _finished(child: Child, now: datetime) -> ChildView:
    if not _is_settled(child, now):
        return replace(_unfinished(child, now), recheck_after=SETTLING.total_seconds())
    return ChildView(stand=Stand.LOST) if child.job.complete else _failed(child)


def _is_settled(child: Child, now: datetime) -> bool:
    """Whether what is known of a finished Job's pods can be taken for all there is to know."""
    if any(not pod.finished for pod in child.pods):
        return False
    if child.job.finished_at is None or (child.job.failed and child.pods):
        return True
    return now - clock.parse(child.job.finished_at) >= SETTLING


def _result(pods: tuple[ChildPod, ...], spec_digest: str) -> TrainerReport | None:
    """The report of a pod that succeeded; one about other settings is somebody else's."""
    for pod in pods:
        report = pod.report if pod.exit_code == 0 else None
        if report is not None and report.outcome == "succeeded" and report.spec_digest == spec_digest:
            return report
    return None


def _failed(child: Child) -> ChildView:
    exhausted = child.job.failure_reason == "BackoffLimitExceeded"
    last = _last_failure(child)
    refused = child.pods[-1].report if last.failure_class == "Gates" and child.pods else None
    return ChildView(stand=Stand.FAILED, failure=last, refused=refused, exhausted=exhausted)


def _last_failure(child: Child) -> FailureStatus:
    ended = [pod for pod in child.pods if pod.finished]
    if ended:
        return failure_of(ended[-1])
    message = f"The Job failed and its pods are gone: {child.job.failure_message or child.job.failure_reason}"
    advice = "Create a FinetuneJob with another name; its pods' logs may be in the cluster's log store."
    return failure("Infrastructure", Reason.INTERNAL, message, advice)


def _unfinished(child: Child, now: datetime) -> ChildView:
    alive = [pod for pod in child.pods if not pod.finished]
    attempt = _attempt(child)
    queue = queue_view(child, now)
    if alive and alive[-1].running:
        return _running(queue, attempt)
    if queue is not None and (queue.waiting or queue.stalled):
        wait = Wait(reason=Reason.QUEUED, since=child.job.suspended_at, message=queue.message)
        return replace(_queued(queue), wait=wait if queue.waiting else None)
    if child.job.suspended and not child.queued:
        return _suspended(child.job, now)
    seen = _pods(child, alive, attempt, now)
    again = [seconds for seconds in (seen.recheck_after, queue.recheck_after if queue else None) if seconds is not None]
    return replace(seen, queue=queue, recheck_after=min(again, default=None))


def _running(queue: QueueView | None, attempt: str) -> ChildView:
    running = ChildView(stand=Stand.RUNNING, reason=Reason.TRAINER_RUNNING, attempt=attempt, queue=queue)
    if queue is None or not (queue.waiting or queue.stalled):
        return running
    return replace(running, reason=queue.reason, message=f"Saving its state and ending. {queue.message}")


def _queued(queue: QueueView) -> ChildView:
    held = Stand.HELD if queue.reason == Reason.DEACTIVATED else Stand.STARTING
    return ChildView(
        stand=Stand.QUEUED if queue.waiting else held,
        reason=queue.reason,
        message=queue.message,
        queue=queue,
        stalled=queue.stalled,
        recheck_after=queue.recheck_after,
    )


def _suspended(job: ChildJob, now: datetime) -> ChildView:
    """A Job that the operator did not suspend; Kueue may only have done so a moment before it makes a Workload."""
    left = (QUEUE_PATIENCE - (now - clock.parse(job.created_at))).total_seconds()
    if job.paused or left > 0:
        return ChildView(stand=Stand.STARTING, reason=Reason.TRAINER_STARTING, recheck_after=left if left > 0 else None)
    message = f"Job {job.name} was suspended, and not by this operator: it goes on once its spec.suspend is false"
    return ChildView(stand=Stand.HELD, reason=Reason.SUSPENDED_ELSEWHERE, message=message)


def _pods(child: Child, alive: list[ChildPod], attempt: str, now: datetime) -> ChildView:
    if alive:
        return _starting(alive[-1], attempt, now)
    if (last := about_to_end(child)) is not None:
        message = f"Ended with {last.reason}: {last.message}"
        return ChildView(stand=Stand.RUNNING, reason=Reason.TRAINER_RUNNING, message=message)
    waiting = ChildView(stand=Stand.STARTING, reason=_starting_reason(attempt), attempt=attempt)
    return waiting if child.pods else _podless(child.job, waiting, now)


def _podless(job: ChildJob, waiting: ChildView, now: datetime) -> ChildView:
    if job.failed_pods or job.finished or job.suspended or job.started_at is None:
        return waiting
    left = (POD_PATIENCE - (now - clock.parse(job.started_at))).total_seconds()
    if left > 0:
        return replace(waiting, recheck_after=left)
    message = (
        f"Job {job.name} cannot create its pod: a quota, an admission rule or a missing service account "
        f"(kubectl describe job {job.name})"
    )
    wait = Wait(reason=Reason.POD_REFUSED, since=job.started_at, message=message)
    return replace(waiting, message=message, wait=wait)


def _starting(pod: ChildPod, attempt: str, now: datetime) -> ChildView:
    starting = ChildView(stand=Stand.STARTING, reason=_starting_reason(attempt), attempt=attempt)
    since = pod.scheduled_at or pod.created_at
    patience = UNSCHEDULABLE_PATIENCE if pod.unschedulable is not None else CREATING_PATIENCE
    left = (patience - (now - clock.parse(since))).total_seconds()
    found = _obstacle(pod, is_late=left <= 0)
    if found is not None:
        reason, message = found
        return _kept(starting, Wait(reason=reason, since=since, message=message))
    if left > 0:
        return replace(starting, recheck_after=left)
    return replace(starting, message=_slow(pod))


def _obstacle(pod: ChildPod, *, is_late: bool) -> tuple[Reason, str] | None:
    """What keeps a pod from starting, where that may never end."""
    told = f"{pod.waiting_reason}: {pod.waiting_message}"
    if pod.waiting_reason in _PULL_FAILURES:
        return Reason.IMAGE_PULL_FAILED, told
    if pod.waiting_reason.endswith("Error"):
        return Reason.CONTAINER_NOT_STARTED, told
    if is_late and pod.unschedulable is not None:
        return Reason.UNSCHEDULABLE, f"Waiting for a node: {pod.unschedulable}"
    if is_late and pod.node is not None and pod.prepared is False:
        # Mounting comes before the sandbox, pulling the image after it. A node that can make no sandbox looks alike.
        return Reason.VOLUME_MISSING, (
            f"The pod's volumes cannot be set up: {pod.mounted or 'something that it needs'} is not in namespace "
            f"{pod.namespace} or lacks a key, or the node is at fault (kubectl describe pod {pod.name})"
        )
    return None


def _kept(starting: ChildView, wait: Wait) -> ChildView:
    return replace(starting, reason=wait.reason, message=wait.message, wait=wait)


def _slow(pod: ChildPod) -> str:
    patience = int(CREATING_PATIENCE.total_seconds())
    return (
        f"The container has not started after {patience} s: its image is being pulled, or a Secret or ConfigMap named "
        f"in spec.storage does not exist (kubectl describe pod {pod.name})"
    )


def _attempt(child: Child) -> str:
    """Attempts that count; one after a preemption is not another attempt at it."""
    ended = [pod for pod in child.pods if pod.finished and pod.exit_code != 0]
    if not ended:
        return _count(child.job) if child.job.failed_pods else ""
    last = failure_of(ended[-1])
    if last.failure_class == "Preempted":
        return f"again after {last.reason}"
    # The trainer finds the report of the attempt before in S3; a container that was killed leaves none.
    smaller = child.job.kind == "train" and last.exit_code == ExitCode.OUT_OF_MEMORY
    return f"{_count(child.job)} after {last.reason}" + (", with smaller micro-batches" if smaller else "")


def _starting_reason(attempt: str) -> Reason:
    """One that was preempted has not failed: it goes on."""
    return Reason.RETRYING if attempt.startswith("attempt") else Reason.TRAINER_STARTING


def _count(job: ChildJob) -> str:
    return f"attempt {job.failed_pods + 1} of {job.backoff_limit + 1}"
