"""What follows when a child Job could not be created."""

from typing import Final

from finetune_api.base import Timestamp
from finetune_api.conditions import ConditionType, Reason
from finetune_api.names import Kind
from finetune_api.status import Phase
from finetune_operator.conditions import find
from finetune_operator.failures import failure
from finetune_operator.observe import FinetuneJob, Refusal, RefusalKind
from finetune_operator.step import Step, failed
from finetune_operator.wait import Wait

LEFTOVER_SECONDS: Final = 2.0
REFUSED_SECONDS: Final = 30.0
"""Quota comes free when another job ends, which nobody tells us."""

_WORDS: Final = {
    "quota: ": Reason.QUOTA_EXCEEDED,
    "admission webhook": Reason.ADMISSION_DENIED,
    "ValidatingAdmissionPolicy": Reason.ADMISSION_DENIED,
}

_BEFORE: Final[dict[Kind, Phase]] = {"preflight": "Pending", "train": "Starting", "cleanup": "Pending"}
"""Where a job stands before it has this Job."""


def step(job: FinetuneJob, kind: Kind, refusal: Refusal) -> Step:
    """A taken name ends the job, a Job on its way out is waited for, and a refusal is tried again."""
    if refusal.kind == RefusalKind.FOREIGN:
        what, namespace = refusal.resource, job.key.namespace
        message = f"A {what} named {refusal.message} exists in namespace {namespace} and is not this FinetuneJob's"
        advice = f"Rename or remove that {what}, then create the FinetuneJob again, or give the latter another name."
        return failed(failure("Settings", Reason.NAME_COLLISION, message, advice))
    if refusal.kind == RefusalKind.LEFTOVER:
        return Step(phase=_BEFORE[kind], reason=Reason.PENDING, message=refusal.message, recheck_after=LEFTOVER_SECONDS)
    reason = _reason(refusal.message)
    message = f"The cluster refused the {kind} Job: {refusal.message}"
    return Step(
        phase=_BEFORE[kind],
        reason=reason,
        message=message,
        stalled=True,
        wait=Wait(reason=reason, since=_stalled_since(job), message=message),
        recheck_after=REFUSED_SECONDS,
    )


def without_kueue(kind: Kind, queue: str) -> Step:
    """A queue is asked for where nobody would ever let the Job out of it."""
    asked = "spec.scheduling.queue names" if kind == "train" else "the operator's setting preflight_queue names"
    return Step(
        phase=_BEFORE[kind],
        reason=Reason.QUEUE_UNAVAILABLE,
        message=f"{asked} {queue}, but this operator was started without Kueue: install Kueue, set the chart value "
        "kueue.enabled, and restart the operator; or create the FinetuneJob without a queue",
        stalled=True,
    )


def _reason(message: str) -> Reason:
    """The API server answers 403 to all of them; only its words differ."""
    found = (reason for words, reason in _WORDS.items() if words in message)
    return next(found, Reason.CREATE_REFUSED)


def _stalled_since(job: FinetuneJob) -> Timestamp | None:
    stalled = find(job.status.conditions, ConditionType.STALLED)
    return stalled.last_transition_time if stalled is not None and stalled.status == "True" else None
