"""A Job of several pods that failed: all are started again, by a new Job, once the old one has ended everywhere.

Two looks, so that an operator that dies in between restarts nothing twice and counts nothing twice: the first one puts
the end of the Job into status, the next one, which finds it there, removes the Job. Its name is free for the new one
only when it is gone, and it counts as failed only when every pod of it has ended: no two pods of a rank overlap.
"""

from typing import Final

from finetune_api.conditions import Reason
from finetune_api.exit_codes import RULE_BY_NAME
from finetune_api.report import TrainerReport
from finetune_api.spec.job import FinetuneJobSpec
from finetune_api.status import FailureStatus, RestartStatus
from finetune_operator.actions import DeleteJob
from finetune_operator.children import ChildJob
from finetune_operator.observe import FinetuneJob
from finetune_operator.step import Step, failed

_NEVER: Final = RestartStatus()


def step(
    job: FinetuneJob, spec: FinetuneJobSpec, why: FailureStatus, refused: TrainerReport | None, child: ChildJob
) -> Step:
    """What follows the failure of a Job of several pods; `refused` is the report of a result that its gates refuse."""
    # The one rule of such a Job's policy that fails it; the pod itself may be gone by now.
    is_disrupted = child.failure_reason == "PodFailurePolicy" and why.failure_class == "Infrastructure"
    rule = RULE_BY_NAME["Preempted" if is_disrupted else why.failure_class]
    before = job.status.restarts or _NEVER
    is_told = before.job_uid == child.uid
    if rule.action == "FailJob" or _is_too_often(job, why, rule.most, is_told=is_told):
        return failed(why, report=refused)
    counted = before.counted + int(rule.action == "Count" and not is_told)
    if counted > spec.limits.retries:
        return _exhausted(spec, why)
    return Step(
        phase="Starting",
        reason=Reason.RETRYING,
        message=f"Starting all {spec.resources.nodes} pods again{attempt(counted, spec)} after {why.reason}: "
        f"{why.message}",
        actions=(DeleteJob(name=child.name, uid=child.uid),) if is_told else (),
        restarts=RestartStatus(counted=counted, job_uid=child.uid),
    )


def _is_too_often(job: FinetuneJob, why: FailureStatus, most: int | None, *, is_told: bool) -> bool:
    alike = [each for each in job.status.attempts if each.finished_at is not None and each.reason == why.reason]
    return most is not None and len(alike) + int(not is_told) >= most


def attempt(counted: int, spec: FinetuneJobSpec) -> str:
    """`, attempt 2 of 4`; empty for the first."""
    return f", attempt {counted + 1} of {spec.limits.retries + 1}" if counted else ""


def _exhausted(spec: FinetuneJobSpec, why: FailureStatus) -> Step:
    message = f"The last of {spec.limits.retries + 1} attempts failed with {why.reason}: {why.message}"
    return failed(why, reason=Reason.BACKOFF_LIMIT_EXCEEDED, message=message)
