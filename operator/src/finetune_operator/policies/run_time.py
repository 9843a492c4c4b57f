"""The budget of run time: attempts add up, whatever lies between them.

Kubernetes' own `activeDeadlineSeconds` begins anew when a Job is resumed, so the sum is kept in status.
"""

from dataclasses import replace
from datetime import datetime

from finetune_api.conditions import ConditionType, Reason
from finetune_api.spec.job import FinetuneJobSpec
from finetune_api.status import FailureStatus
from finetune_operator import clock
from finetune_operator.admin import Admin
from finetune_operator.attempts import run_seconds
from finetune_operator.conditions import find
from finetune_operator.failures import failure
from finetune_operator.observe import FinetuneJob, Observed
from finetune_operator.policies import suspend
from finetune_operator.step import Step, failed


def bound(
    step: Step, job: FinetuneJob, spec: FinetuneJobSpec, *, observed: Observed, now: datetime, admin: Admin
) -> Step:
    """The step, or the end of training that has used its time up: the pod saves its state, then the job fails."""
    # The user's own bound can be raised while the job runs, the platform team's holds all the same.
    own, theirs = spec.limits.max_run_seconds, admin.max_run_seconds
    most = min((each for each in (own, theirs) if each is not None), default=None)
    if most is None or step.terminal:
        return step
    left = most - run_seconds(job.status, observed.train, now)
    if left > 0 and not _is_stopping(job):
        return step.looked_at_after(left) if step.phase == "Running" else step
    stopped = suspend.stop(step, observed)
    why = _failure(spec, most, "limits.maxRunSeconds" if most == own else "admin.maxRunSeconds of the chart")
    if stopped.phase == "Suspended":
        return failed(why)
    message = f"Stopping after {clock.duration(most)} of training: waiting for the pod to save its state and end"
    return replace(stopped, reason=Reason.RUN_TIME_EXCEEDED, message=message)


def _is_stopping(job: FinetuneJob) -> bool:
    """Whether the end was decided already: the node's clock may tell of a little less than the operator's."""
    moving = find(job.status.conditions, ConditionType.RECONCILING)
    return moving is not None and moving.reason == Reason.RUN_TIME_EXCEEDED


def _failure(spec: FinetuneJobSpec, most: int, setting: str) -> FailureStatus:
    return failure(
        "Limits",
        Reason.RUN_TIME_EXCEEDED,
        f"Training has run for {clock.duration(most)} in all ({setting}) and is not done",
        f"Raise {setting} and create the FinetuneJob again: with the same output it goes on from the last "
        f"checkpoint under {spec.checkpoint.uri or spec.output.uri}.",
    )
