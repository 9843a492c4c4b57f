"""A Job of several pods that train together, looked at as if it had one.

All of them run or none does: one that is missing keeps the others waiting, and one that is lost ends them all. So what
is decided, told and counted is about one start of all pods. Its name among attempts is the first pod's UID, its end is
told by the pod whose fault it was.

Pods that still ran when the Job failed are deleted by the Job controller and vanish as soon as they have ended, the
first one too: the name is left open then, and the history of attempts knows it (`attempts.merge`).
"""

from dataclasses import replace
from typing import Final

from finetune_api.base import Timestamp
from finetune_api.conditions import BEREAVED
from finetune_operator.children import ChildJob, ChildPod
from finetune_operator.failures import failure_of
from finetune_operator.observe import Child

UNNAMED: Final = ""
"""The UID where the first pod is gone."""


def as_one(child: Child | None) -> Child | None:
    """The child with one pod that stands for all; preflight and a Job of one pod are left as they are."""
    if child is None or child.job.completions == 1 or not child.pods:
        return child
    newest = {pod.index: pod for pod in child.pods}
    pods = sorted(newest.values(), key=lambda pod: pod.index)
    found = _broken_off(pods, child.job) if _broken(pods) else _whole(newest.get(0), pods, child.job.completions)
    uid = newest[0].uid if 0 in newest else UNNAMED
    return replace(child, pods=(replace(found, uid=uid, index=0),) if found is not None else ())


def _broken_off(pods: list[ChildPod], job: ChildJob) -> ChildPod:
    """Of pods of which some have failed: their end, once all have ended and the Job has noticed."""
    if all(pod.finished for pod in pods) and (job.finished or job.suspended):
        return replace(_culprit(_broken(pods)), started_at=_earliest(pods), finished_at=_latest(pods))
    return replace(pods[0], phase="Running", started_at=_earliest(pods), finished_at=None, exit_code=None)


def _whole(first: ChildPod | None, pods: list[ChildPod], wanted: int) -> ChildPod | None:
    """Of pods of which none has failed: the first one's result, or what keeps all from running."""
    if first is not None and first.finished:
        return first
    waiting = [pod for pod in pods if not pod.finished and not pod.running]
    if waiting:
        return waiting[0]
    if first is None or len(pods) < wanted:
        alive = [pod for pod in pods if not pod.finished]
        return replace(alive[0], phase="Pending", started_at=None) if alive else None
    return replace(first, started_at=_earliest(pods))


def _culprit(broken: list[ChildPod]) -> ChildPod:
    """Whose end was that of all: not of those that only missed another, and of the others the earliest.

    Pods that are asked to leave because one has failed end within the same second now and then.
    """

    def order(pod: ChildPod) -> tuple[bool, str, bool, int]:
        failure = failure_of(pod)
        is_late = failure.failure_class == "Preempted" and pod.disruption is None
        return failure.reason in BEREAVED, pod.finished_at or "", is_late, pod.index

    return min(broken, key=order)


def _broken(pods: list[ChildPod]) -> list[ChildPod]:
    return [pod for pod in pods if pod.finished and pod.exit_code != 0]


def _earliest(pods: list[ChildPod]) -> Timestamp | None:
    return min((pod.started_at for pod in pods if pod.started_at is not None), default=None)


def _latest(pods: list[ChildPod]) -> Timestamp | None:
    return max((pod.finished_at for pod in pods if pod.finished_at is not None), default=None)
