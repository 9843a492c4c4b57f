"""Nodes on which attempts fail again and again are avoided.

Only faults that a machine may have count: nobody's data, settings or storage. Which nodes these are is kept in status,
since pods and Jobs go. The scheduler is told by the pod template, which cannot change, so that the child Job is
replaced, once, when no pod of it is at work; failures so far count against the new one's retries.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Final

from finetune_api.conditions import Reason
from finetune_api.status import AttemptStatus
from finetune_operator.actions import DeleteJob
from finetune_operator.observe import Child, FinetuneJob
from finetune_operator.step import Step

REPEATED: Final = 2
"""Once may be chance, and a node that is left out for nothing may have been the only one."""
MOST: Final = 8
"""More than that is no fault of nodes."""
FAULTS: Final = frozenset(
    {
        Reason.INTERNAL,
        Reason.HUNG,
        Reason.GPU_NOT_VISIBLE,
        Reason.GPU_FAULT,
        Reason.GPU_UNSUPPORTED,
        Reason.COLLECTIVE_FAILED,
    }
)
"""Reasons that a machine may be to blame for."""


def avoided(before: Iterable[str], attempts: Iterable[AttemptStatus]) -> list[str]:
    """Names of nodes to avoid: those known before, and those of which the attempts tell."""
    failed = Counter(each.node for each in attempts if each.outcome == "Failed" and each.reason in FAULTS)
    known = list(before)
    found = [node for node, count in failed.items() if node and count >= REPEATED and node not in known]
    return [*known, *found][:MOST]


def replace_job(step: Step, job: FinetuneJob, child: Child | None) -> Step:
    """The step, or the replacement of a child Job that could start on a node that the stored status says to avoid."""
    if step.terminal or child is None or child.job.finished or child.job.deleting or child.job.suspended:
        return step
    new = [node for node in job.status.avoided_nodes if node not in child.job.avoided_nodes]
    if not new or any(not pod.finished and pod.node is not None for pod in child.pods):
        return step
    nodes = "node" if len(new) == 1 else "nodes"
    return Step(
        phase="Starting",
        reason=Reason.NODE_AVOIDED,
        message=f"Attempts failed {REPEATED} times on {nodes} {', '.join(new)}; the next one starts elsewhere",
        actions=(DeleteJob(name=child.job.name, uid=child.job.uid),),
    )
