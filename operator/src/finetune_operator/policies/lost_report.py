"""A child Job that ended well but whose report cannot be read, because its pod is gone.

The Job runs again: a trainer that finds its committed output trains nothing, it reports anew.
"""

from typing import Final

from finetune_api.conditions import Reason
from finetune_api.status import FailureStatus, Phase
from finetune_operator.actions import DeleteJob
from finetune_operator.children import ChildJob
from finetune_operator.failures import failure
from finetune_operator.observe import FinetuneJob
from finetune_operator.step import Step, failed

LIMIT: Final = 3
"""Once is a node's loss; thrice means something removes pods as soon as they end."""


def step(job: FinetuneJob, child: ChildJob, phase: Phase) -> Step:
    """Run the Job again, a few times."""
    if job.status.lost_reports >= LIMIT:
        return failed(_failure(job, child))
    return Step(
        phase=phase,
        reason=Reason.REPORT_LOST,
        message=f"Job {child.name} ended well but its report could not be read; asking for it again",
        actions=(DeleteJob(name=child.name, uid=child.uid),),
        lost_report=True,
    )


def _failure(job: FinetuneJob, child: ChildJob) -> FailureStatus:
    output = job.spec.output.uri if job.spec is not None else "the output"
    return failure(
        "Infrastructure",
        Reason.REPORT_LOST,
        f"Job {child.name} ended well {LIMIT + 1} times, but its pods were gone before their report could be read",
        f"Find out what deletes finished pods. A finished adapter, if any, is under {output}.",
    )
