"""Deletion of a FinetuneJob whose output is to go with it: a clean-up Job, then the finalizer is taken away.

It is taken away in bounded time whatever happens: an output can be removed later, an object that cannot be deleted
blocks its whole namespace. What was left is told by an event, also where no Job can be created any more.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from finetune_api.conditions import Reason
from finetune_api.digest import spec_digest
from finetune_api.names import FINALIZER
from finetune_api.request import TrainerRequest
from finetune_api.spec.job import FinetuneJobSpec
from finetune_operator import clock
from finetune_operator.actions import Action, CreateJob, DeleteJob, SetFinalizers
from finetune_operator.events import Milestone
from finetune_operator.failures import failure_of
from finetune_operator.manifests.job import child_job
from finetune_operator.observe import Child, FinetuneJob, Observed, Refusal, RefusalKind
from finetune_operator.policies import permission, suspend
from finetune_operator.settings import Settings
from finetune_operator.step import Step

PATIENCE: Final = timedelta(minutes=15)
AGAIN_SECONDS: Final = 5.0
STOPPING: Final = "Waiting for the job's pods to end before its output is removed"
REMOVING: Final = "Removing the job's output"
_TERMINATING: Final = "being terminated"
"""In what the API server says of a namespace that is about to go."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """What follows from the deletion of a FinetuneJob."""

    actions: tuple[Action, ...] = ()
    message: str = ""
    """What is waited for; empty if nothing is."""
    milestone: Milestone | None = None
    recheck_after: float | None = None


def hold(job: FinetuneJob) -> tuple[Action, ...]:
    """Put the finalizer on a job that asks for the deletion of its output, before anything is written there."""
    wanted = job.spec is not None and job.spec.output.on_delete == "delete"
    if not wanted or FINALIZER in job.finalizers:
        return ()
    return (SetFinalizers(finalizers=(*job.finalizers, FINALIZER)),)


def step(job: FinetuneJob, observed: Observed, now: datetime, settings: Settings) -> Release:
    """Towards a FinetuneJob that holds nothing back."""
    if FINALIZER not in job.finalizers:
        return Release()
    left = _seconds_left(job, now)
    outcome = _outcome(job, job.spec, observed, left) or _not_allowed(job, observed, settings)
    if outcome is not None:
        return _let_go(job, observed, outcome)
    # What still writes is stopped first; its Job stays for Kubernetes, which would leave the pods behind for a while.
    stopped = suspend.stop(Step(phase="Running", reason=Reason.FINISHED, message=""), observed)
    if stopped.phase != "Suspended":
        return Release(actions=stopped.actions, message=STOPPING, recheck_after=left)
    begun = observed.cleanup is not None or "cleanup" in observed.refusals
    create = () if begun or job.spec is None else (_cleanup(job, job.spec, settings),)
    actions = (*stopped.actions, *suspend.resume(observed.cleanup), *create)
    return Release(actions=actions, message=REMOVING, recheck_after=min(left, AGAIN_SECONDS))


def _outcome(job: FinetuneJob, spec: FinetuneJobSpec | None, observed: Observed, left: float) -> Milestone | None:
    """How the clean-up ended; None while it has not."""
    if spec is None:
        return _left(job, f"the stored spec is not valid: {job.spec_error}")
    done = _done(spec, observed.cleanup)
    if done is not None:
        return done
    refusal = observed.refusals.get("cleanup")
    if refusal is not None and _is_final(refusal):
        return _left(job, refusal.message)
    if observed.cleanup is not None and observed.cleanup.job.failed:
        return _left(job, _why_failed(observed.cleanup))
    return _left(job, f"not done within {clock.duration(int(PATIENCE.total_seconds()))}") if left <= 0 else None


def _not_allowed(job: FinetuneJob, observed: Observed, settings: Settings) -> Milestone | None:
    """A job that may not be run may not remove anything either."""
    if observed.cleanup is not None or job.spec is None:
        return None
    reason = permission.denied(job.key.namespace, job.spec, settings.admin)
    return _left(job, reason.message) if reason is not None else None


def _done(spec: FinetuneJobSpec, child: Child | None) -> Milestone | None:
    reports = (pod.report for pod in (child.pods if child is not None else ()) if pod.exit_code == 0)
    found = next((report.cleanup for report in reports if report is not None and report.cleanup is not None), None)
    if found is None:
        return None
    removed = f"{found.removed:,} objects under {spec.output.uri} were removed"
    if not found.left:
        return Milestone(type="Normal", reason=Reason.ARTIFACTS_DELETED, note=removed)
    return Milestone(type="Warning", reason=Reason.ARTIFACTS_LEFT, note=f"{removed}; left are {'; '.join(found.left)}")


def _left(job: FinetuneJob, why: str) -> Milestone:
    where = job.spec.output.uri if job.spec is not None else "spec.output.uri"
    return Milestone(type="Warning", reason=Reason.ARTIFACTS_LEFT, note=f"What lies under {where} is left: {why}")


def _is_final(refusal: Refusal) -> bool:
    return refusal.kind == RefusalKind.FOREIGN or _TERMINATING in refusal.message


def _why_failed(child: Child) -> str:
    ended = [pod for pod in child.pods if pod.finished]
    return failure_of(ended[-1]).message if ended else f"Job {child.job.name} failed: {child.job.failure_message}"


def _let_go(job: FinetuneJob, observed: Observed, outcome: Milestone) -> Release:
    """The clean-up Job has no owner that would take it along."""
    cleanup = observed.cleanup
    actions: list[Action] = [DeleteJob(name=cleanup.job.name, uid=cleanup.job.uid)] if cleanup is not None else []
    actions.append(SetFinalizers(finalizers=tuple(name for name in job.finalizers if name != FINALIZER)))
    return Release(actions=tuple(actions), milestone=outcome)


def _seconds_left(job: FinetuneJob, now: datetime) -> float:
    began = clock.parse(job.deleted_at) if job.deleted_at is not None else now
    return (began + PATIENCE - now).total_seconds()


def _cleanup(job: FinetuneJob, spec: FinetuneJobSpec, settings: Settings) -> CreateJob:
    image = job.status.image or settings.trainer_image
    request = TrainerRequest(
        kind="cleanup",
        namespace=job.key.namespace,
        name=job.key.name,
        uid=job.uid,
        spec=spec,
        spec_digest=spec_digest(spec),
        image=image,
    )
    return CreateJob(kind="cleanup", manifest=child_job(job, spec, request, image, settings))
