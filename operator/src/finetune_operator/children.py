"""The parts of Jobs and Pods that decisions need, parsed once at the edge into small frozen values."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import ValidationError

from finetune_api import GROUP, KIND
from finetune_api.base import Timestamp
from finetune_api.names import (
    AVOIDED_NODES,
    CONTAINER,
    INDEX_LABEL,
    JOB_LABEL,
    KIND_LABEL,
    OWNER_LABEL,
    QUEUE_LABEL,
    SUSPENDED_BY,
)
from finetune_api.report import TrainerReport

Raw = Mapping[str, Any]
"""A Kubernetes object as the API server sends it."""

FINISHED_PHASES: Final = frozenset({"Succeeded", "Failed"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """The controller of an object."""

    kind: str
    name: str
    uid: str
    group: str

    @property
    def is_finetune_job(self) -> bool:
        """Whether the controller is a FinetuneJob."""
        return self.kind == KIND and self.group == GROUP


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildJob:
    """A batch/v1 Job."""

    namespace: str
    name: str
    uid: str
    resource_version: str
    owner: Owner | None
    kind: str
    """Value of our kind label: preflight or train."""
    queue: str
    """Kueue's queue that decides when it may run; empty if none does."""
    created_at: Timestamp
    deleting: bool
    suspended: bool
    paused: bool
    """Whether it was this operator that suspended it."""
    suspended_at: Timestamp
    """Since when it is; when it was created, where that is not known."""
    complete: bool
    failed: bool
    """Whether the Job has ended as failed, not a count."""
    failed_pods: int
    """Failures that count against the limit."""
    active_pods: int
    failure_reason: str
    failure_message: str
    started_at: Timestamp | None
    """When it began, or went on, to create pods."""
    finished_at: Timestamp | None
    backoff_limit: int
    completions: int
    """Pods that must succeed: those of a training Job train together."""
    ttl_seconds: int | None
    avoided_nodes: frozenset[str]
    """Nodes that its pods are kept off because attempts failed there."""

    @property
    def finished(self) -> bool:
        """Whether the Job creates no pod any more."""
        return self.complete or self.failed


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildPod:
    """A pod of a child Job."""

    namespace: str
    name: str
    uid: str
    resource_version: str
    job_uid: str
    kind: str
    """Value of our kind label: preflight or train."""
    index: int
    """Its place among the Job's pods."""
    created_at: Timestamp
    deleting: bool
    phase: str
    node: str | None
    disruption: str | None
    """Reason of the pod's DisruptionTarget condition, if the cluster took the pod away."""
    unschedulable: str | None
    """The scheduler's message while no node fits."""
    scheduled_at: Timestamp | None
    """When it got its node."""
    prepared: bool | None
    """Whether volumes and network are set up; None where the cluster does not tell."""
    mounted: str
    """The Secret and ConfigMap that its volumes need, in words."""
    image_id: str
    """The trainer's image as the node knows it, by digest; empty before it is pulled."""
    waiting_reason: str
    waiting_message: str
    started_at: Timestamp | None
    finished_at: Timestamp | None
    exit_code: int | None
    evicted: str
    """The kubelet's message, if it evicted the pod."""
    ended_reason: str
    """The container's reason (OOMKilled, Error), else the pod's (Evicted)."""
    ended_message: str
    """The termination message, else the pod's own message."""

    @property
    def finished(self) -> bool:
        """Whether nothing runs in the pod any more."""
        return self.phase in FINISHED_PHASES or self.exit_code is not None

    @property
    def running(self) -> bool:
        """Whether the trainer is at work."""
        return self.started_at is not None and not self.finished

    @property
    def report(self) -> TrainerReport | None:
        """What the trainer said at its end; parsed anew each time, because ten thousand parsed reports fill memory."""
        if self.exit_code is None:
            return None
        try:
            return TrainerReport.model_validate_json(self.ended_message)
        except ValidationError:
            return None


def parse_job(raw: Raw) -> ChildJob:
    """A Job as the API server sends it."""
    metadata, spec, status = raw["metadata"], raw["spec"], raw.get("status") or {}
    labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
    conditions = {c["type"]: c for c in status.get("conditions") or () if c["status"] == "True"}
    end = conditions.get("Failed") or conditions.get("Complete") or {}
    return ChildJob(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        resource_version=metadata["resourceVersion"],
        owner=controller(metadata) or _claimed(labels),
        kind=labels.get(KIND_LABEL, ""),
        queue=labels.get(QUEUE_LABEL, ""),
        created_at=metadata["creationTimestamp"],
        deleting="deletionTimestamp" in metadata,
        paused=SUSPENDED_BY in (metadata.get("annotations") or {}),
        suspended=bool(spec.get("suspend")),
        suspended_at=conditions.get("Suspended", {}).get("lastTransitionTime") or metadata["creationTimestamp"],
        complete="Complete" in conditions,
        failed="Failed" in conditions,
        failed_pods=status.get("failed") or 0,
        active_pods=status.get("active") or 0,
        failure_reason=end.get("reason", ""),
        failure_message=end.get("message", ""),
        started_at=status.get("startTime"),
        finished_at=end.get("lastTransitionTime"),
        backoff_limit=spec.get("backoffLimit", 6),
        completions=spec.get("completions", 1),
        ttl_seconds=spec.get("ttlSecondsAfterFinished"),
        avoided_nodes=frozenset(filter(None, annotations.get(AVOIDED_NODES, "").split(","))),
    )


def parse_pod(raw: Raw) -> ChildPod:
    """A Pod as the API server sends it."""
    metadata, status = raw["metadata"], raw.get("status") or {}
    labels = metadata.get("labels") or {}
    conditions = {c["type"]: c for c in status.get("conditions") or ()}
    owner = controller(metadata)
    container = _container(status)
    state = container.get("state") or {}
    waiting, running = state.get("waiting") or {}, state.get("running") or {}
    ended = state.get("terminated") or {}
    return ChildPod(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        resource_version=metadata["resourceVersion"],
        job_uid=owner.uid if owner else "",
        kind=labels.get(KIND_LABEL, ""),
        index=_index(labels.get(INDEX_LABEL, "")),
        created_at=metadata["creationTimestamp"],
        deleting="deletionTimestamp" in metadata,
        phase=status.get("phase", "Pending"),
        node=raw["spec"].get("nodeName"),
        disruption=_reason_if(conditions, "DisruptionTarget", "True"),
        unschedulable=_unschedulable(conditions),
        scheduled_at=_since(conditions, "PodScheduled"),
        prepared=_truth(conditions, "PodReadyToStartContainers"),
        mounted=" or ".join(_mounted(raw["spec"])),
        image_id=container.get("imageID", ""),
        waiting_reason=waiting.get("reason", ""),
        waiting_message=waiting.get("message", ""),
        started_at=running.get("startedAt") or ended.get("startedAt"),
        finished_at=ended.get("finishedAt"),
        exit_code=ended.get("exitCode"),
        evicted=status.get("message", "") if status.get("reason") == "Evicted" else "",
        ended_reason=ended.get("reason") or status.get("reason", ""),
        ended_message=ended.get("message") or status.get("message", ""),
    )


def controller(metadata: Raw) -> Owner | None:
    """Who controls an object, by its metadata."""
    for owner in metadata.get("ownerReferences") or ():
        if owner.get("controller"):
            group = owner["apiVersion"].rpartition("/")[0]
            return Owner(kind=owner["kind"], name=owner["name"], uid=owner["uid"], group=group)
    return None


def _claimed(labels: Raw) -> Owner | None:
    """The FinetuneJob that a Job without an owner reference works for."""
    uid = labels.get(OWNER_LABEL)
    return Owner(kind=KIND, name=labels.get(JOB_LABEL, ""), uid=uid, group=GROUP) if uid else None


def _container(status: Raw) -> Raw:
    own = (container for container in status.get("containerStatuses") or () if container["name"] == CONTAINER)
    return next(own, {})


def _index(text: str) -> int:
    return int(text) if text.isdecimal() else 0


def _mounted(spec: Raw) -> Iterator[str]:
    for volume in spec.get("volumes") or ():
        if "secret" in volume:
            yield f"Secret {volume['secret']['secretName']}"
        elif "configMap" in volume:
            yield f"ConfigMap {volume['configMap']['name']}"


def _reason_if(conditions: Raw, name: str, status: str) -> str | None:
    condition = conditions.get(name) or {}
    return condition.get("reason", name) if condition.get("status") == status else None


def _since(conditions: Raw, name: str) -> Timestamp | None:
    condition = conditions.get(name) or {}
    return condition.get("lastTransitionTime") if condition.get("status") == "True" else None


def _truth(conditions: Raw, name: str) -> bool | None:
    return {"True": True, "False": False}.get((conditions.get(name) or {}).get("status", ""))


def _unschedulable(conditions: Raw) -> str | None:
    if _reason_if(conditions, "PodScheduled", "False") != "Unschedulable":
        return None
    message: str = conditions["PodScheduled"].get("message", "")
    return message
