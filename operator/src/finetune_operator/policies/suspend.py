"""Suspension: the child Job is suspended, and the job counts as suspended once no pod of it is at work."""

from dataclasses import replace
from typing import Final

from finetune_api.conditions import Reason
from finetune_operator.actions import Action, DeleteJob, SuspendJob
from finetune_operator.observe import Child, Observed
from finetune_operator.step import Step

STOPPING: Final = "Stopping: waiting for the pod to save its state and end"
STOPPED: Final = "Suspended; set spec.suspend to false to go on from the last checkpoint"


def stop(step: Step, observed: Observed) -> Step:
    """The step of a job that is to be suspended; an end that is already there stands, and nothing is created."""
    if step.terminal:
        return step
    children = [child for child in (observed.preflight, observed.train) if child is not None]
    actions = tuple(action for child in children for action in _suspend(child))
    calm = replace(step, reason=Reason.SUSPENDED_BY_USER, stalled=False, lost_report=False, recheck_after=None)
    if any(_is_active(child) for child in children):
        return replace(calm, message=STOPPING, actions=actions)
    return replace(calm, phase="Suspended", message=STOPPED, actions=actions)


def resume(child: Child | None) -> tuple[Action, ...]:
    """Let a suspended child Job go on, unless a queue decides when it may."""
    if child is None or not child.job.suspended or child.job.queue or child.job.deleting or child.job.finished:
        return ()
    return (SuspendJob(name=child.job.name, uid=child.job.uid, suspend=False),)


def _suspend(child: Child) -> tuple[Action, ...]:
    if child.job.deleting or child.job.finished:
        return ()
    if child.job.queue:
        # Kueue would let a suspended Job that it has admitted go on, and admit a waiting one later.
        return (DeleteJob(name=child.job.name, uid=child.job.uid),)
    if child.job.suspended:
        return ()
    return (SuspendJob(name=child.job.name, uid=child.job.uid, suspend=True),)


def _is_active(child: Child) -> bool:
    return any(not pod.finished for pod in child.pods) or (child.job.active_pods > 0 and not child.job.finished)
