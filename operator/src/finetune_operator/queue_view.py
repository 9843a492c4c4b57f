"""How a child Job stands with Kueue, in words for people.

Nobody but Kueue suspends or resumes a Job that is in a queue: it would undo it. What the operator can do is to take the
Job out of the queue and put it back, by the Workload's `spec.active`; the rest is to see and to tell.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from finetune_api.conditions import Reason
from finetune_operator import clock
from finetune_operator.observe import Child
from finetune_operator.workloads import Verdict, Workload

PATIENCE: Final = timedelta(seconds=30)
"""Kueue makes a Workload, and resumes the Job that it has admitted, within a second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueView:
    """How a Job stands with its queue."""

    name: str
    """The LocalQueue."""
    workload: str | None = None
    reason: Reason
    message: str
    words: str = ""
    """Kueue's own, the last ones."""
    waiting: bool = True
    """Whether the Job waits for its turn."""
    position: int | None = None
    """Its place, the next one being 1."""
    stalled: bool = False
    """Whether it cannot go on without somebody's help."""
    recheck_after: float | None = None
    """Seconds until time alone can change the view."""


def joining(queue: str) -> QueueView:
    """The view of a Job that is about to be created in a queue."""
    return QueueView(name=queue, reason=Reason.QUEUED, message=f"Waiting in queue {queue}")


def left(view: QueueView) -> QueueView:
    """The view of a Job that its user has suspended."""
    message = f"Taken out of queue {view.name} while the job is suspended"
    return QueueView(
        name=view.name, workload=view.workload, reason=Reason.SUSPENDED_BY_USER, message=message, waiting=False
    )


def queue_view(child: Child, now: datetime) -> QueueView | None:
    """How an unfinished Job stands with Kueue; None if Kueue has no say in it."""
    if not child.queued:
        return None
    if child.workload is None:
        return _unnoticed(child, now)
    seen = _seen(child, child.workload, now)
    return replace(seen, workload=child.workload.name, position=child.position if seen.waiting else None)


def _unnoticed(child: Child, now: datetime) -> QueueView:
    job = child.job
    if not job.suspended:
        return QueueView(
            name=job.queue, reason=Reason.ADMITTED, message=f"Queue {job.queue} lets it run", waiting=False
        )
    patience = (PATIENCE - (now - clock.parse(job.created_at))).total_seconds()
    if patience > 0:
        return replace(joining(job.queue), recheck_after=patience)
    message = (
        f"Kueue takes no notice of Job {job.name} in queue {job.queue}: it does not run, it does not manage namespace "
        f"{job.namespace}, or there is no WorkloadPriorityClass of the name; or this operator does not look at "
        "Workloads (chart value kueue.enabled)"
    )
    return QueueView(name=job.queue, reason=Reason.NOT_QUEUED, message=message, stalled=True)


def _seen(child: Child, workload: Workload, now: datetime) -> QueueView:
    if not workload.active:
        return _inactive(workload)
    if workload.evicted is not None and not workload.evicted.reason.startswith("Deactivated"):
        return _evicted(child, workload, workload.evicted)
    if workload.admitted is not None and workload.evicted is None:
        return _admitted(child, workload, workload.admitted, now)
    if workload.reserved and workload.evicted is None:
        return _reserved(workload)
    return _waiting(child, workload)


def _inactive(workload: Workload) -> QueueView:
    if workload.paused:
        # Its user has resumed the job, and it is about to be put back.
        return joining(workload.queue)
    words = workload.evicted.message if workload.evicted is not None else "The workload is deactivated"
    patch = f'kubectl patch workload {workload.name} --type=merge -p \'{{"spec":{{"active":true}}}}\''
    message = f"Taken out of queue {workload.queue}, not by this operator: {words}. To put it back: {patch}"
    return QueueView(
        name=workload.queue, reason=Reason.DEACTIVATED, message=message, words=words, waiting=False, stalled=True
    )


def _evicted(child: Child, workload: Workload, evicted: Verdict) -> QueueView:
    preempted = evicted.reason == "Preempted"
    message = f"Stopped by queue {workload.queue}: {evicted.message}"
    since = workload.waiting
    if since is not None and since.message and since.message != evicted.message:
        message = f"{message}. {_place(child, workload)}: {since.message}"
    words = since.message if since is not None else evicted.message
    reason = Reason.PREEMPTED if preempted else Reason.EVICTED
    return QueueView(name=workload.queue, reason=reason, message=message, words=words)


def _admitted(child: Child, workload: Workload, admitted: Verdict, now: datetime) -> QueueView:
    # The time tells one admission from the next, or the second would not be recorded as an event.
    message = f"Queue {workload.queue} lets it run since {admitted.since}"
    view = QueueView(
        name=workload.queue, reason=Reason.ADMITTED, message=message, words=admitted.message, waiting=False
    )
    if not child.job.suspended:
        return view
    patience = (PATIENCE - (now - clock.parse(admitted.since))).total_seconds()
    if patience > 0:
        return replace(view, recheck_after=patience)
    message = (
        f"Kueue has held quota for Workload {workload.name} since {admitted.since}, but Job {child.job.name} is still "
        f"suspended: look at the log of Kueue's controller. To queue it anew: kubectl delete workload {workload.name}"
    )
    return replace(view, reason=Reason.ADMITTED_NOT_STARTED, message=message, stalled=True)


def _reserved(workload: Workload) -> QueueView:
    checks = "; ".join(workload.checks) or "no check is named"
    message = f"Queue {workload.queue} has set quota aside and waits for its admission checks: {checks}"
    return QueueView(name=workload.queue, reason=Reason.QUOTA_RESERVED, message=message, words=checks)


def _waiting(child: Child, workload: Workload) -> QueueView:
    place = _place(child, workload)
    why = workload.waiting
    if why is None or not why.message or "deactivated" in why.message:
        # Kueue has not looked at it yet, or not since it was put back.
        return QueueView(name=workload.queue, reason=Reason.QUEUED, message=place)
    reason = _reason(why)
    stalled = reason in (Reason.QUEUE_NOT_FOUND, Reason.INADMISSIBLE, Reason.EXCEEDS_QUOTA)
    message = f"{place}: {why.message}"
    return QueueView(name=workload.queue, reason=reason, message=message, words=why.message, stalled=stalled)


def _place(child: Child, workload: Workload) -> str:
    queue = f"Waiting in queue {workload.queue}" if workload.queue else "Kueue holds the Job, which names no queue"
    return f"{queue}, place {child.position}" if child.position is not None else queue


def _reason(why: Verdict) -> Reason:
    """Kueue's reasons were few before 0.19, and are so by default in it: then its message has to tell."""
    if why.reason in ("Inadmissible", "Misconfigured", "Suspended"):
        if any(word in why.message for word in ("doesn't exist", "missing")):
            return Reason.QUEUE_NOT_FOUND
        is_stopped = any(word in why.message for word in ("inactive", "stopped"))
        return Reason.QUEUE_STOPPED if is_stopped else Reason.INADMISSIBLE
    if "unavailable in ClusterQueue" in why.message:
        return Reason.INADMISSIBLE
    # Of several flavors one may be too small for ever, and another merely full.
    is_too_much = "maximum capacity" in why.message and "unused quota" not in why.message
    if why.reason == "ExceedsMaxQuota" or is_too_much:
        return Reason.EXCEEDS_QUOTA
    return Reason.WAITING_FOR_QUOTA
