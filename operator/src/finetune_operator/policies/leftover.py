"""What may still be at work once a job has failed for good: a deadline or a budget ended it, not its child Job.

Removed only now, because a Job that is gone before the end is in status would be made again.
"""

from finetune_api.conditions import ConditionType
from finetune_operator.actions import DeleteJob
from finetune_operator.conditions import is_true
from finetune_operator.observe import Child, FinetuneJob, Observed


def remove(job: FinetuneJob, observed: Observed) -> tuple[DeleteJob, ...]:
    """Remove child Jobs that could start another pod for a job whose stored status is Failed."""
    if not is_true(job.status.conditions, ConditionType.FAILED):
        return ()
    children = [child for child in (observed.preflight, observed.train) if child is not None]
    return tuple(DeleteJob(name=child.job.name, uid=child.job.uid) for child in children if _goes_on(child))


def _goes_on(child: Child) -> bool:
    """Whether it is neither finished nor about to be: the Job controller takes a moment to count an ended pod."""
    ends = any(pod.exit_code == 0 for pod in child.pods)
    return not (child.job.finished or child.job.deleting or ends)
