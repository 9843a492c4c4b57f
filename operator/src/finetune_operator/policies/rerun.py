"""A changed `spec.runId`: what the former run left in the cluster goes, then the job begins as a new one.

The former result stays in S3, since a run's output has a folder of its own. Nothing else ever makes a finished job run
again.
"""

from dataclasses import replace

from finetune_api.conditions import Reason
from finetune_api.status import FinetuneJobStatus
from finetune_operator.actions import DeleteJob
from finetune_operator.observe import FinetuneJob, Observed
from finetune_operator.step import Step


def is_wanted(job: FinetuneJob) -> bool:
    """Whether the status speaks of another run than the spec."""
    begun = job.status.observed_generation > 0
    return begun and job.spec is not None and job.spec.run_id != job.status.run_id


def afresh(job: FinetuneJob) -> FinetuneJob:
    """The job as if it had not begun."""
    return replace(job, status=FinetuneJobStatus())


def clear(job: FinetuneJob, observed: Observed) -> Step | None:
    """The step of a job whose former run is still in the cluster; None once nothing is left of it."""
    children = [child.job for child in (observed.preflight, observed.train) if child is not None]
    if not children:
        return None
    run = job.spec.run_id if job.spec is not None else None
    former = job.status.artifact.uri if job.status.artifact is not None else "its output"
    return Step(
        phase="Pending",
        reason=Reason.RERUN,
        message=f"Run {run or 'without a runId'} begins; what the former one has made stays in {former}",
        actions=tuple(DeleteJob(name=child.name, uid=child.uid) for child in children if not child.deleting),
    )
