"""What follows when a child Job could not be created."""

from typing import Final

from finetune_api.conditions import Reason
from finetune_api.names import Kind, child_name
from finetune_api.status import Phase
from finetune_operator.failures import failure
from finetune_operator.observe import FinetuneJob, Refusal, RefusalKind
from finetune_operator.step import Step, failed

LEFTOVER_SECONDS: Final = 2.0
REFUSED_SECONDS: Final = 30.0
"""Quota comes free when another job ends, which nobody tells us."""

_BEFORE: Final[dict[Kind, Phase]] = {"preflight": "Pending", "train": "Starting"}
"""Where a job stands before it has this Job."""


def step(job: FinetuneJob, kind: Kind, refusal: Refusal) -> Step:
    """A taken name ends the job, a Job on its way out is waited for, and a refusal is tried again."""
    if refusal.kind == RefusalKind.FOREIGN:
        name = child_name(job.key.name, kind)
        message = f"A Job named {name} exists in namespace {job.key.namespace} and is not this FinetuneJob's"
        advice = "Rename or remove that Job, then create the FinetuneJob again, or give the FinetuneJob another name."
        return failed(failure("Settings", Reason.NAME_COLLISION, message, advice))
    if refusal.kind == RefusalKind.LEFTOVER:
        return Step(phase=_BEFORE[kind], reason=Reason.PENDING, message=refusal.message, recheck_after=LEFTOVER_SECONDS)
    return Step(
        phase=_BEFORE[kind],
        reason=Reason.CREATE_REFUSED,
        message=f"The cluster refused the {kind} Job: {refusal.message}",
        stalled=True,
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
