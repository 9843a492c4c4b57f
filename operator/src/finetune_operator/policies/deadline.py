"""Deadlines of waiting: what keeps a job from going on ends it, once it has lasted too long.

Nothing of Kubernetes' own does that: an image that cannot be pulled, a node that never comes and a Secret that does not
exist keep a pod pending for ever. Where only time is needed, as for a node or a quota, there is a day of it; where
somebody has to act, half an hour.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from finetune_api.conditions import ConditionType, Reason
from finetune_api.exit_codes import FailureClass
from finetune_api.spec.resources import Limits
from finetune_api.status import FailureStatus
from finetune_operator import clock
from finetune_operator.conditions import find
from finetune_operator.failures import failure
from finetune_operator.observe import FinetuneJob
from finetune_operator.step import Step, failed
from finetune_operator.wait import Wait

A_DAY: Final = 86_400
HALF_AN_HOUR: Final = 1_800


@dataclass(frozen=True, slots=True)
class _Bound:
    """What a wait that is too long means."""

    failure_class: FailureClass
    field: str
    """Field of spec.limits that says how long is too long."""
    seconds: int | None
    """Where the field is empty; None for no bound."""
    advice: str


def _pending(failure_class: FailureClass, seconds: int, advice: str) -> _Bound:
    return _Bound(failure_class, "maxPendingSeconds", seconds, advice)


_AGAIN: Final = "then create the FinetuneJob again: with the same output it goes on where it was."
BOUNDS: Final[Mapping[Reason, _Bound]] = {
    Reason.QUEUED: _Bound(
        "Limits",
        "maxQueueSeconds",
        None,
        f"Ask the platform team about the queue's quota, or raise limits.maxQueueSeconds; {_AGAIN}",
    ),
    Reason.UNSCHEDULABLE: _pending(
        "Cluster",
        A_DAY,
        "Ask for what a node can give: check spec.resources and spec.scheduling against `kubectl describe nodes`; "
        f"{_AGAIN}",
    ),
    Reason.QUOTA_EXCEEDED: _pending(
        "Cluster", A_DAY, f"Free quota (kubectl describe resourcequota), or ask the platform team for more; {_AGAIN}"
    ),
    Reason.IMAGE_PULL_FAILED: _pending(
        "Cluster",
        HALF_AN_HOUR,
        "The platform team corrects the operator's trainer image, or gives the pod's service account the registry's "
        f"pull secret; {_AGAIN}",
    ),
    Reason.VOLUME_MISSING: _pending(
        "Settings",
        HALF_AN_HOUR,
        f"Create the Secret and ConfigMap that spec.storage names, or correct their names; {_AGAIN}",
    ),
    Reason.CONTAINER_NOT_STARTED: _pending(
        "Cluster", HALF_AN_HOUR, f"The platform team looks at the node and the pod (kubectl describe pod); {_AGAIN}"
    ),
    Reason.POD_REFUSED: _pending(
        "Cluster", A_DAY, f"`kubectl describe job` names the quota, rule or service account; {_AGAIN}"
    ),
    Reason.CREATE_REFUSED: _pending(
        "Cluster", HALF_AN_HOUR, f"Ask the platform team for what the message names; {_AGAIN}"
    ),
    Reason.ADMISSION_DENIED: _pending(
        "Cluster", HALF_AN_HOUR, f"Change what the cluster's policy refuses, or ask who keeps the policy; {_AGAIN}"
    ),
}


def bound(step: Step, job: FinetuneJob, limits: Limits, now: datetime) -> Step:
    """The step, or the end of a job that has waited too long."""
    wait = step.wait
    if wait is None or step.terminal:
        return step
    rule = BOUNDS[wait.reason]
    seconds = _seconds(rule, limits, avoids_nodes=bool(job.status.avoided_nodes))
    if seconds is None:
        return step
    left = seconds - (now - _since(wait, job, now)).total_seconds()
    return step.looked_at_after(left) if left > 0 else failed(_too_late(wait, rule, seconds))


def _seconds(rule: _Bound, limits: Limits, *, avoids_nodes: bool) -> int | None:
    chosen = limits.max_queue_seconds if rule.field == "maxQueueSeconds" else limits.max_pending_seconds
    if chosen is None and avoids_nodes and rule.seconds is not None:
        # The only node that would take the pod may be one on which attempts failed.
        return min(rule.seconds, HALF_AN_HOUR)
    return chosen if chosen is not None else rule.seconds


def _since(wait: Wait, job: FinetuneJob, now: datetime) -> datetime:
    """When the wait began; time in which the user had the job suspended is not waited."""
    began = clock.parse(wait.since) if wait.since is not None else now
    suspended = find(job.status.conditions, ConditionType.SUSPENDED)
    if suspended is None:
        return began
    return now if suspended.status == "True" else max(began, clock.parse(suspended.last_transition_time))


def _too_late(wait: Wait, rule: _Bound, seconds: int) -> FailureStatus:
    reason = Reason.QUEUE_TIME_EXCEEDED if wait.reason == Reason.QUEUED else wait.reason
    message = f"{wait.message} (given up after {clock.duration(seconds)}, limits.{rule.field})"
    return failure(rule.failure_class, reason, message, rule.advice)
