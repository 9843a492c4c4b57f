"""Where the pods of a training Job go, and what keeps them there: spec.scheduling as a pod template says it."""

from typing import Any, Final

from finetune_api.names import JOB_LABEL, KIND_LABEL
from finetune_api.spec.placement import NodeRequirement, Topology
from finetune_api.spec.resources import Scheduling, Toleration

Manifest = dict[str, Any]
Labels = dict[str, str]

UNDISTURBED: Final = {
    "cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
    "karpenter.sh/do-not-disrupt": "true",
}
"""Autoscalers that make room elsewhere would cost a running job the time since its last checkpoint."""
_WEIGHT: Final = 100
"""The largest that a preference may have."""


def pod_annotations(wanted: Scheduling, *, queued: bool) -> dict[str, str]:
    """Annotations of a training pod; `queued` tells whether Kueue admits its Job."""
    near = _kueue_topology(wanted.topology) if wanted.topology is not None and queued else {}
    return {**wanted.annotations, **near, **UNDISTURBED}


def placement(wanted: Scheduling, labels: Labels, *, queued: bool) -> Manifest:
    """The scheduling part of a training pod's spec; `labels` are the pods' own."""
    parts = {
        "schedulerName": wanted.scheduler_name,
        "priorityClassName": wanted.priority_class_name,
        "nodeSelector": dict(wanted.node_selector),
        "tolerations": [_toleration(toleration) for toleration in wanted.tolerations],
        "affinity": _affinity(wanted, labels, queued=queued),
    }
    return {name: part for name, part in parts.items() if part}


def _affinity(wanted: Scheduling, labels: Labels, *, queued: bool) -> Manifest:
    affinity: Manifest = {}
    if wanted.node_affinity:
        term = {"matchExpressions": [_expression(requirement) for requirement in wanted.node_affinity]}
        affinity["nodeAffinity"] = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}
    # In a queue Kueue chooses the domain; a second choice by the scheduler could contradict it.
    if wanted.topology is not None and not queued:
        affinity["podAffinity"] = _near_each_other(wanted.topology, labels)
    return affinity


def _near_each_other(topology: Topology, labels: Labels) -> Manifest:
    own = {name: labels[name] for name in (JOB_LABEL, KIND_LABEL)}
    term = {"labelSelector": {"matchLabels": own}, "topologyKey": topology.key}
    if topology.required:
        return {"requiredDuringSchedulingIgnoredDuringExecution": [term]}
    return {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": _WEIGHT, "podAffinityTerm": term}]}


def _kueue_topology(topology: Topology) -> dict[str, str]:
    return {f"kueue.x-k8s.io/podset-{'required' if topology.required else 'preferred'}-topology": topology.key}


def _expression(requirement: NodeRequirement) -> Manifest:
    return requirement.model_dump(exclude_defaults=True)


def _toleration(toleration: Toleration) -> Manifest:
    return toleration.model_dump(exclude_none=True)
