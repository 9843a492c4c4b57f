"""Kubernetes Events: one when the reason of a job's state changes, none per step.

Names are made from their content, so that a restarted operator that reaches the same conclusion again records nothing
twice.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

from finetune_api import API_VERSION, KIND
from finetune_api.conditions import ConditionType, Reason
from finetune_api.names import MANAGER
from finetune_api.status import Condition, FinetuneJobStatus
from finetune_operator import clock
from finetune_operator.conditions import find, is_true
from finetune_operator.failures import clip
from finetune_operator.observe import FinetuneJob

NOTE: Final = 1024
NAME_BYTES: Final = 253

_HEADLINES: Final = (
    ConditionType.FAILED,
    ConditionType.COMPLETE,
    ConditionType.SUSPENDED,
    ConditionType.STALLED,
    ConditionType.RECONCILING,
)
_WARNINGS: Final = frozenset(
    {
        Reason.UNSCHEDULABLE,
        Reason.IMAGE_PULL_FAILED,
        Reason.VOLUME_MISSING,
        Reason.CONTAINER_NOT_STARTED,
        Reason.CREATE_REFUSED,
        Reason.QUOTA_EXCEEDED,
        Reason.ADMISSION_DENIED,
        Reason.RUN_TIME_EXCEEDED,
        Reason.RETRYING,
        Reason.NODE_AVOIDED,
        Reason.REPORT_LOST,
    }
)
_UNREMARKABLE: Final = frozenset({Reason.PENDING})


@dataclass(frozen=True, slots=True, kw_only=True)
class Milestone:
    """Something in a job's life that is worth an Event."""

    type: Literal["Normal", "Warning"]
    reason: str
    note: str


def milestones(before: FinetuneJobStatus, after: FinetuneJobStatus) -> tuple[Milestone, ...]:
    """What happened between two statuses."""
    return tuple(_milestones(before, after))


def event(job: FinetuneJob, milestone: Milestone, now: datetime) -> dict[str, Any]:
    """A milestone as an Event about the FinetuneJob."""
    run = (job.spec.run_id if job.spec is not None else None) or ""
    content = "\n".join([job.uid, run, milestone.reason, milestone.note])
    mark = hashlib.sha256(content.encode()).hexdigest()[:16]
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{job.key.name[: NAME_BYTES - 17]}.{mark}", "namespace": job.key.namespace},
        "type": milestone.type,
        "reason": milestone.reason,
        "message": clip(milestone.note, NOTE),
        "firstTimestamp": clock.stamp(now),
        "lastTimestamp": clock.stamp(now),
        "count": 1,
        "source": {"component": MANAGER},
        "involvedObject": {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "namespace": job.key.namespace,
            "name": job.key.name,
            "uid": job.uid,
        },
    }


def _milestones(before: FinetuneJobStatus, after: FinetuneJobStatus) -> Iterator[Milestone]:
    validated = find(after.conditions, ConditionType.VALIDATED)
    if validated is not None and validated.status == "True" and not is_true(before.conditions, ConditionType.VALIDATED):
        yield Milestone(type="Normal", reason=validated.reason, note=validated.message)
    yield from _gates(before, after)
    yield from _admission(before, after)
    old, new = _headline(before), _headline(after)
    if new is None or new.reason in _UNREMARKABLE or (old is not None and _same(old, new)):
        return
    warning = new.type in (ConditionType.FAILED, ConditionType.STALLED) or new.reason in _WARNINGS
    yield Milestone(type="Warning" if warning else "Normal", reason=new.reason, note=new.message)


def _same(old: Condition, new: Condition) -> bool:
    """The same state; what kept a job from going on is told again when it has ended the job."""
    ended = new.type == ConditionType.FAILED and old.type != new.type
    return old.reason == new.reason and not ended


def _gates(before: FinetuneJobStatus, after: FinetuneJobStatus) -> Iterator[Milestone]:
    """A refused result of a job that completes; one that fails says so itself."""
    gate = find(after.conditions, ConditionType.GATE_PASSED)
    if gate is None or gate.status == "True" or find(before.conditions, ConditionType.GATE_PASSED) is not None:
        return
    if not is_true(after.conditions, ConditionType.FAILED):
        yield Milestone(type="Warning", reason=gate.reason, note=gate.message)


def _admission(before: FinetuneJobStatus, after: FinetuneJobStatus) -> Iterator[Milestone]:
    """A queue lets the Job run; what it waits for, and that it was stopped, is the headline then."""
    queued = find(after.conditions, ConditionType.QUEUED)
    if queued is None or queued.reason != Reason.ADMITTED:
        return
    earlier = find(before.conditions, ConditionType.QUEUED)
    if earlier is None or earlier.reason != Reason.ADMITTED:
        yield Milestone(type="Normal", reason=queued.reason, note=queued.message)


def _headline(status: FinetuneJobStatus) -> Condition | None:
    """The condition that says where the job stands."""
    true = (find(status.conditions, kind) for kind in _HEADLINES if is_true(status.conditions, kind))
    return next(true, None)
