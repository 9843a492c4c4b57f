"""The parts of Kueue's Workloads that decisions need, parsed once at the edge.

Kueue makes one Workload for each Job in a queue. It copies none of our labels to it unless its configuration says so,
but it copies the Job's pod template, and that has them: so all Workloads are looked at, and only ours are kept.
"""

import re
from dataclasses import dataclass
from typing import Final

from finetune_api.base import Timestamp
from finetune_api.names import MANAGED_BY, MANAGER, SUSPENDED_BY
from finetune_operator.children import Raw, controller
from finetune_operator.failures import clip

GROUP: Final = "kueue.x-k8s.io"
VERSION: Final = "v1beta2"
"""Served since Kueue 0.15."""
PLURAL: Final = "workloads"
WORDS: Final = 480
"""Most that is kept of one message of Kueue's."""

_IDS: Final = re.compile(r" \(UID: [^)]*\)|; preemptor path: .*", re.DOTALL)
"""What Kueue says for its own bookkeeping: it names no object that a reader could look up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a condition of a Workload says."""

    reason: str
    message: str
    since: Timestamp


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """Kueue's side of a child Job."""

    namespace: str
    name: str
    uid: str
    resource_version: str
    job_uid: str
    created_at: Timestamp
    queue: str
    """LocalQueue; empty for a Job that names none and is managed all the same."""
    active: bool
    """Whether it may be admitted; turned off, Kueue stops the Job."""
    paused: bool
    """Whether it was this operator that turned it off."""
    reserved: bool
    """Whether quota is set aside for it."""
    admitted: Verdict | None
    """That it may run."""
    evicted: Verdict | None
    """That it was stopped, until it is let in again."""
    waiting: Verdict | None
    """Why no quota is set aside for it."""
    checks: tuple[str, ...]
    """Admission checks that have not passed, each with its message."""


def parse_workload(raw: Raw) -> Workload | None:
    """A Workload as the API server sends it; None if it is not of a Job of ours."""
    metadata, spec, status = raw["metadata"], raw["spec"], raw.get("status") or {}
    owner = controller(metadata)
    if owner is None or owner.kind != "Job" or not _is_ours(spec):
        return None
    verdicts = {c["type"]: (c["status"] == "True", _verdict(c)) for c in status.get("conditions") or ()}
    reserved = _when(verdicts, "QuotaReserved", True) is not None
    return Workload(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        resource_version=metadata["resourceVersion"],
        job_uid=owner.uid,
        created_at=metadata["creationTimestamp"],
        queue=spec.get("queueName", ""),
        active=spec.get("active", True),
        paused=SUSPENDED_BY in (metadata.get("annotations") or {}),
        reserved=reserved,
        admitted=_when(verdicts, "Admitted", True),
        evicted=_when(verdicts, "Evicted", True),
        waiting=_when(verdicts, "QuotaReserved", False),
        checks=tuple(_check(c) for c in status.get("admissionChecks") or () if c["state"] != "Ready"),
    )


def _is_ours(spec: Raw) -> bool:
    templates = [pods.get("template") or {} for pods in spec.get("podSets") or ()]
    labels = [(template.get("metadata") or {}).get("labels") or {} for template in templates]
    return any(each.get(MANAGED_BY) == MANAGER for each in labels)


def _verdict(condition: Raw) -> Verdict:
    words = _IDS.sub("", condition.get("message") or "")
    return Verdict(
        reason=condition.get("reason") or "", message=clip(words, WORDS), since=condition["lastTransitionTime"]
    )


def _when(verdicts: dict[str, tuple[bool, Verdict]], kind: str, holds: bool) -> Verdict | None:
    is_true, verdict = verdicts.get(kind, (not holds, None))
    return verdict if is_true == holds else None


def _check(state: Raw) -> str:
    message = state.get("message") or state["state"]
    return clip(f"{state['name']}: {message}", WORDS)
