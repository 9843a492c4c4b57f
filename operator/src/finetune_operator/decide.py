"""The decision: a FinetuneJob and what was observed in, actions and the whole status out.

Pure, and the only place where the order of the policies stands.
"""

from dataclasses import dataclass, replace
from datetime import datetime

from finetune_api.conditions import ConditionType, Reason
from finetune_api.spec.job import FinetuneJobSpec
from finetune_api.status import FinetuneJobStatus
from finetune_operator.actions import Action
from finetune_operator.conditions import find
from finetune_operator.events import Milestone, milestones
from finetune_operator.failures import failure
from finetune_operator.image import pinned
from finetune_operator.observe import FinetuneJob, Observed
from finetune_operator.policies import deadline, leftover, preflight, release, rerun, run_time, suspend, training, ttl
from finetune_operator.results import data_status
from finetune_operator.settings import Settings
from finetune_operator.status import next_status
from finetune_operator.step import Step, failed


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What to do and what to say."""

    actions: tuple[Action, ...] = ()
    status: FinetuneJobStatus
    milestones: tuple[Milestone, ...] = ()
    recheck_after: float | None = None
    """Seconds until time alone can change the decision."""


def decide(job: FinetuneJob, observed: Observed, now: datetime, settings: Settings) -> Decision:
    """What follows from what is known."""
    if job.spec is not None:
        job = replace(job, spec=settings.admin.completed(job.spec))
    if job.deleting:
        return _leave(job, observed, now, settings)
    if held := release.hold(job):
        return Decision(actions=held, status=job.status)
    if rerun.is_wanted(job):
        return _run_again(job, observed, now, settings)
    if is_final(job.status):
        actions: tuple[Action, ...] = (*leftover.remove(job, observed), *ttl.clean_up(job, observed))
        return Decision(actions=actions, status=_still(job))
    step = _next_step(job, job.spec, observed, now, settings) if job.spec is not None else _malformed(job)
    image = pinned(job.status.image or (settings.trainer_image if step.actions else None), observed)
    status = next_status(job, observed, step, image, now)
    return Decision(
        actions=step.actions,
        status=status,
        milestones=milestones(job.status, status),
        recheck_after=step.recheck_after,
    )


def _leave(job: FinetuneJob, observed: Observed, now: datetime, settings: Settings) -> Decision:
    """What is still to be done for a job that is to go."""
    leaving = release.step(job, observed, now, settings)
    return Decision(
        actions=leaving.actions,
        status=job.status.model_copy(update={"message": leaving.message}) if leaving.message else job.status,
        milestones=(leaving.milestone,) if leaving.milestone is not None else (),
        recheck_after=leaving.recheck_after,
    )


def _run_again(job: FinetuneJob, observed: Observed, now: datetime, settings: Settings) -> Decision:
    """The job as a new one, once its former run is gone from the cluster."""
    fresh = rerun.afresh(job)
    leaving = rerun.clear(job, observed)
    if leaving is None:
        return decide(fresh, observed, now, settings)
    status = next_status(fresh, Observed(), leaving, None, now).model_copy(update={"run_id": job.status.run_id})
    return Decision(actions=leaving.actions, status=status, milestones=milestones(job.status, status))


def is_final(status: FinetuneJobStatus) -> bool:
    """Whether the job has ended for good. A spec that does not parse may do so for the next operator version."""
    end = find(status.conditions, ConditionType.COMPLETE) or find(status.conditions, ConditionType.FAILED)
    return end is not None and end.status == "True" and end.reason != Reason.INVALID_SPEC


def _next_step(job: FinetuneJob, spec: FinetuneJobSpec, observed: Observed, now: datetime, settings: Settings) -> Step:
    if job.status.data is not None:
        step = training.step(job, spec, job.status.data, observed=observed, now=now, settings=settings)
    else:
        step = _from_the_start(job, spec, observed, now, settings)
    if spec.suspend:
        return suspend.stop(step, observed)
    return run_time.bound(
        deadline.bound(step, job, spec.limits, now), job, spec, observed=observed, now=now, admin=settings.admin
    )


def _from_the_start(
    job: FinetuneJob, spec: FinetuneJobSpec, observed: Observed, now: datetime, settings: Settings
) -> Step:
    step = preflight.step(job, spec, observed, now, settings)
    passed = step.reports[-1] if step.reports and not step.terminal else None
    if passed is None or passed.data is None:
        return step
    validated = data_status(passed.data, passed.prepared)
    following = training.step(job, spec, validated, observed=observed, now=now, settings=settings)
    return replace(following, reports=(*step.reports, *following.reports))


def _malformed(job: FinetuneJob) -> Step:
    advice = "Correct the field, or create the FinetuneJob anew with the CRD of this operator's version."
    return failed(failure("Settings", Reason.INVALID_SPEC, f"The stored object is not valid: {job.spec_error}", advice))


def _still(job: FinetuneJob) -> FinetuneJobStatus:
    """A final status never changes, but it speaks of the newest generation: only suspend and limits can differ."""
    return job.status.model_copy(update={"observed_generation": job.generation})
