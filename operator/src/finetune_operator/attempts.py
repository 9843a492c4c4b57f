"""The history of a job's attempts: what pods tell now, merged with what status remembers of pods long gone.

What an attempt did is told by its progress lines while it runs and by its report at its end. One that was killed leaves
no report: what status remembers of its lines says how far it came, and what of that is to be done again.
"""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from typing import Final, Literal

from finetune_api.conditions import Reason
from finetune_api.progress import Progress
from finetune_api.status import AttemptStatus, FinetuneJobStatus
from finetune_operator import clock
from finetune_operator.children import ChildPod
from finetune_operator.failures import WORD, clip, failure_of
from finetune_operator.observe import Child

KEPT: Final = 7
"""Fewer than the schema allows: twenty alone would take four fifths of what a status may."""


def merge(
    history: Iterable[AttemptStatus],
    child: Child | None,
    progress: Progress | None = None,
    *,
    suspended: bool,
    now: datetime,
) -> list[AttemptStatus]:
    """The newest attempts, oldest first; `progress` is of the one that runs."""
    history = list(history)
    pods = [_named(pod, history) for pod in child.pods] if child is not None else []
    before = {attempt.uid: attempt for attempt in history}
    present = {
        pod.uid: _done(_attempt(pod), before.get(pod.uid), pod, progress if pod.running else None)
        for pod in pods
        if pod.started_at is not None and pod.uid
    }
    end = _unseen_end(child, suspended, now)
    known = [present.get(old.uid) or _vanished(old, end) for old in history]
    return [*known, *_fresh(known, present.values())][-KEPT:]


def _named(pod: ChildPod, history: list[AttemptStatus]) -> ChildPod:
    """The pod; one for several of which the first is gone has the name of the attempt that has not ended."""
    open_ended = [attempt.uid for attempt in history if attempt.finished_at is None]
    return pod if pod.uid or not open_ended else replace(pod, uid=open_ended[-1])


def _fresh(known: list[AttemptStatus], present: Iterable[AttemptStatus]) -> list[AttemptStatus]:
    """Attempts that history does not hold yet.

    Pods outlive their place in a full history: one that started before all that it holds was dropped from it, and
    would come back as the newest at every look.
    """
    seen = {attempt.uid for attempt in known}
    oldest = (known[0].started_at or "") if len(known) >= KEPT else ""
    return [attempt for attempt in present if attempt.uid not in seen and (attempt.started_at or "") > oldest]


def newly_finished(before: Iterable[AttemptStatus], after: Iterable[AttemptStatus]) -> list[AttemptStatus]:
    """Attempts that ended since `before`: each is found once in a job's life."""
    ended = {attempt.uid for attempt in before if attempt.finished_at is not None}
    return [attempt for attempt in after if attempt.finished_at is not None and attempt.uid not in ended]


def held_seconds(attempts: Iterable[AttemptStatus]) -> int:
    """Seconds that attempts which have ended ran."""
    spans = ((attempt.started_at, attempt.finished_at) for attempt in attempts)
    return sum(clock.seconds_between(start, end) for start, end in spans if start is not None and end is not None)


def with_gpu_time(attempts: Iterable[AttemptStatus], gpus: int) -> list[AttemptStatus]:
    """The attempts; those that have ended with the time that they held so many GPUs."""
    return [_with_gpu_time(attempt, gpus) if gpus else attempt for attempt in attempts]


def _with_gpu_time(attempt: AttemptStatus, gpus: int) -> AttemptStatus:
    if attempt.started_at is None or attempt.finished_at is None:
        return attempt
    return attempt.model_copy(update={"gpu_seconds": gpus * held_seconds([attempt])})


def useful_gpu_seconds(attempts: Iterable[AttemptStatus], gpus: int) -> int:
    """GPU seconds that ended attempts spent in steps which need not be done again."""
    return sum(round(gpus * (attempt.step_seconds or 0) * _kept_share(attempt)) for attempt in attempts)


def _kept_share(attempt: AttemptStatus) -> float:
    done = (attempt.step or 0) - (attempt.resumed_from_step or 0)
    return 1 - (attempt.lost_steps or 0) / done if done > 0 else 0.0


def run_seconds(status: FinetuneJobStatus, child: Child | None, now: datetime) -> int:
    """Seconds that a job's attempts have run by now, the one at work included."""
    attempts = merge(status.attempts, child, suspended=False, now=now)
    at_work = sum(
        clock.seconds_between(attempt.started_at, clock.stamp(now))
        for attempt in attempts
        if attempt.finished_at is None and attempt.started_at is not None
    )
    return status.run_seconds + held_seconds(newly_finished(status.attempts, attempts)) + at_work


def _attempt(pod: ChildPod) -> AttemptStatus:
    outcome, reason = _outcome(pod)
    return AttemptStatus(
        pod=clip(pod.name, WORD),
        uid=pod.uid,
        node=clip(pod.node, WORD) if pod.node is not None else None,
        started_at=pod.started_at,
        finished_at=pod.finished_at,
        outcome=outcome,
        exit_code=pod.exit_code,
        reason=reason,
    )


def _outcome(pod: ChildPod) -> tuple[Literal["Running", "Succeeded", "Failed", "Preempted"], str | None]:
    if not pod.finished:
        return "Running", None
    if pod.exit_code == 0:
        return "Succeeded", None
    failure = failure_of(pod)
    return ("Preempted" if failure.failure_class == "Preempted" else "Failed"), failure.reason


def _unseen_end(child: Child | None, suspended: bool, now: datetime) -> dict[str, str | None]:
    """What to believe of an attempt whose pod vanished while it ran: the Job's word, else that it was taken away."""
    if child is not None and child.job.complete:
        return {"outcome": "Succeeded", "finished_at": child.job.finished_at}
    stopped = Reason.PREEMPTED if child is not None and child.job.suspended else Reason.DISRUPTED
    reason = Reason.SUSPENDED_BY_USER if suspended else stopped
    return {"outcome": "Preempted", "reason": reason, "finished_at": clock.stamp(now)}


def _vanished(attempt: AttemptStatus, end: dict[str, str | None]) -> AttemptStatus:
    return attempt if attempt.finished_at is not None else _with_loss(attempt.model_copy(update=end))


def _done(attempt: AttemptStatus, before: AttemptStatus | None, pod: ChildPod, line: Progress | None) -> AttemptStatus:
    """The attempt with what it did: by its last words, else by its newest line, else as it was known before."""
    report = pod.report
    training = report.training if report is not None else None
    known = before or attempt
    saved = [each.checkpoint for each in (report, line) if each is not None and each.checkpoint is not None]
    resumed = [each.resumed_from_step for each in (training, line) if each is not None]
    reached = [training.steps] if training is not None else []
    reached += [line.step] if line is not None and line.total_steps else []
    spent = [round(each.step_seconds) for each in (training, line) if each is not None and each.step_seconds]
    done = attempt.model_copy(
        update={
            "resumed_from_step": _first(*resumed, known.resumed_from_step),
            "step": _first(*reached, known.step),
            "step_seconds": _first(*spent, known.step_seconds),
            "saved_step": _first(*(checkpoint.step for checkpoint in saved), known.saved_step),
        }
    )
    return done if report is not None and report.artifact is not None else _with_loss(done)


def _first(*steps: int | None) -> int | None:
    return next((step for step in steps if step is not None), None)


def _with_loss(attempt: AttemptStatus) -> AttemptStatus:
    """What an attempt that ended without a result did after its newest checkpoint, its own or the one it began from."""
    if attempt.outcome not in ("Failed", "Preempted") or attempt.step is None:
        return attempt
    held = max(attempt.saved_step or 0, attempt.resumed_from_step or 0)
    return attempt.model_copy(update={"lost_steps": max(attempt.step - held, 0)})
