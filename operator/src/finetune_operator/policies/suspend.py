"""Suspension: the child Job is stopped, and the job counts as suspended once no pod of it is at work.

A Job that is in no queue is suspended itself. One in a queue is Kueue's to suspend: its Workload is taken out of the
queue instead, and keeps its place by age when it is put back. What the operator stopped bears a mark, and it never sets
going what somebody else has stopped.
"""

from dataclasses import replace
from typing import Final

from finetune_api.conditions import Reason
from finetune_operator.actions import Action, DeleteJob, SetActive, SuspendJob
from finetune_operator.observe import Child, Observed
from finetune_operator.queue_view import left
from finetune_operator.step import Step

STOPPING: Final = "Stopping: waiting for the pod to save its state and end"
STOPPED: Final = "Suspended; set spec.suspend to false to go on from the last checkpoint"


def stop(step: Step, observed: Observed) -> Step:
    """The step of a job that is to be suspended; an end that is already there stands, and nothing is created."""
    if step.terminal:
        return step
    children = [child for child in (observed.preflight, observed.train) if child is not None]
    actions = tuple(action for child in children for action in _suspend(child))
    queue = left(step.queue) if step.queue is not None else None
    reason = Reason.SUSPENDED_BY_USER
    calm = replace(step, reason=reason, queue=queue, stalled=False, lost_report=False, recheck_after=None)
    if any(_is_active(child) for child in children):
        return replace(calm, message=STOPPING, actions=actions)
    return replace(calm, phase="Suspended", message=STOPPED, actions=actions)


def resume(child: Child | None) -> tuple[Action, ...]:
    """Let a child Job go on that the operator has stopped."""
    if child is None or child.job.deleting or child.job.finished:
        return ()
    if child.queued:
        workload = child.workload
        if workload is None or workload.active or not workload.paused:
            return ()
        return (SetActive(name=workload.name, uid=workload.uid, active=True),)
    if not child.job.suspended or not child.job.paused:
        return ()
    return (SuspendJob(name=child.job.name, uid=child.job.uid, suspend=False),)


def _suspend(child: Child) -> tuple[Action, ...]:
    if child.job.deleting or child.job.finished:
        return ()
    if child.queued:
        return _take_out(child)
    if child.job.suspended:
        return ()
    return (SuspendJob(name=child.job.name, uid=child.job.uid, suspend=True),)


def _take_out(child: Child) -> tuple[Action, ...]:
    workload = child.workload
    if workload is not None:
        return (SetActive(name=workload.name, uid=workload.uid, active=False),) if workload.active else ()
    if child.job.suspended:
        # Nothing runs, and a Workload that Kueue makes yet is taken out then.
        return ()
    # An operator without Kueue cannot stop what Kueue has let run, but it can remove it.
    return (DeleteJob(name=child.job.name, uid=child.job.uid),)


def _is_active(child: Child) -> bool:
    if any(not pod.finished for pod in child.pods):
        return True
    about_to_run = child.queued and not child.job.suspended
    return (child.job.active_pods > 0 or about_to_run) and not child.job.finished
