"""The child Job, with the exit codes' rule table as its failure policy.

One pod, replaced until it succeeds; or for several nodes a pod of each, which succeed together or end the Job.
"""

from collections.abc import Sequence
from typing import Any, Final

from finetune_api.exit_codes import JOB_GOES_ON, RULES
from finetune_api.names import (
    AVOIDED_NODES,
    CONTAINER,
    JOB_LABEL,
    KIND_LABEL,
    MANAGED_BY,
    MANAGER,
    OWNER_LABEL,
    PRIORITY_LABEL,
    QUEUE_LABEL,
    Kind,
    child_name,
    label_value,
    service_name,
)
from finetune_api.request import TrainerRequest
from finetune_api.spec.job import FinetuneJobSpec
from finetune_api.spec.resources import Scheduling
from finetune_operator.manifests.avoid import avoiding
from finetune_operator.manifests.grace import LEAST_SECONDS, grace_seconds
from finetune_operator.manifests.labels import handed_down
from finetune_operator.manifests.owner import owner_reference
from finetune_operator.manifests.placement import placement, pod_annotations
from finetune_operator.manifests.platform import pod_metadata
from finetune_operator.manifests.pod import pod_spec
from finetune_operator.observe import FinetuneJob
from finetune_operator.settings import Settings

Manifest = dict[str, Any]

PREFLIGHT_RETRIES: Final = 2
"""Storage may hiccup; everything else that preflight finds is final."""
_UNATTENDED: Final = {"activeDeadlineSeconds": 900, "ttlSecondsAfterFinished": 3600}
"""A clean-up Job has no owner, and its operator may be away."""


def child_job(
    job: FinetuneJob, spec: FinetuneJobSpec, request: TrainerRequest, image: str, settings: Settings
) -> Manifest:
    """The Job that carries out a request."""
    kind = request.kind
    is_cleanup = kind == "cleanup"
    own = {MANAGED_BY: MANAGER, JOB_LABEL: label_value(job.key.name), KIND_LABEL: kind}
    labels = {**handed_down(job.labels), **own}
    queue = queue_of(kind, spec, settings)
    nodes = spec.resources.nodes if kind == "train" else 1
    grace = grace_seconds(spec.limits, job.status.estimate) if kind == "train" else LEAST_SECONDS
    pod = pod_spec(spec, request, image, settings, grace_seconds=grace)
    avoided = job.status.avoided_nodes if kind == "train" else []
    annotations = _annotations(kind, spec.scheduling, avoided)
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": child_name(job.key.name, kind),
            "namespace": job.key.namespace,
            "labels": labels | _queue_labels(kind, spec, settings) | ({OWNER_LABEL: job.uid} if is_cleanup else {}),
            **({"annotations": annotations} if annotations else {}),
            **({} if is_cleanup else {"ownerReferences": [owner_reference(job)]}),
        },
        "spec": {
            # Kueue would see to it, but a Job must not run past its queue where Kueue's webhook is down.
            **({"suspend": True} if queue else {}),
            **(_UNATTENDED if is_cleanup else {}),
            "completions": nodes,
            "parallelism": nodes,
            # Indexed: a pod's index says which ranks are in it, and gives it a host name that the others know.
            "completionMode": "Indexed",
            # Of several, none can be replaced alone: the first failure ends the Job, and a new one follows.
            "backoffLimit": _retries(job, kind, spec) if nodes == 1 else 0,
            # Never two trainers of one job at a time: the successor starts when the predecessor is gone.
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": {"rules": failure_rules() if nodes == 1 else failure_rules_together()},
            "template": _template(
                kind,
                spec.scheduling,
                labels,
                pod | _subdomain(job, nodes),
                settings,
                queued=bool(queue),
                avoided=avoided,
            ),
        },
    }


def _annotations(kind: Kind, wanted: Scheduling, avoided: Sequence[str]) -> dict[str, str]:
    chosen = dict(wanted.annotations) if kind == "train" else {}
    return chosen | ({AVOIDED_NODES: ",".join(avoided)} if avoided else {})


def _template(
    kind: Kind,
    wanted: Scheduling,
    labels: dict[str, str],
    pod: Manifest,
    settings: Settings,
    *,
    queued: bool,
    avoided: Sequence[str],
) -> Manifest:
    """Preflight and clean-up run anywhere; training where spec.scheduling says."""
    if kind != "train":
        return {"metadata": pod_metadata(labels, {}, settings), "spec": pod}
    return {
        "metadata": pod_metadata(labels, pod_annotations(wanted, queued=queued), settings),
        "spec": avoiding({**pod, **placement(wanted, labels, queued=queued)}, avoided),
    }


def failure_rules() -> list[Manifest]:
    """The rule table as Kubernetes wants it."""
    # First, whatever the exit code: a pod that the cluster took away is tried again for free.
    rules: list[Manifest] = [{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}]
    for action in ("FailJob", "Ignore"):
        codes = sorted(int(rule.code) for rule in RULES if rule.action == action and rule.code is not None)
        on_codes = {"containerName": CONTAINER, "operator": "In", "values": codes}
        rules.append({"action": action, "onExitCodes": on_codes})
    return rules


def failure_rules_together() -> list[Manifest]:
    """Those of a Job of several pods: whatever ends one ends the Job, unless it is suspended."""
    goes_on = {"containerName": CONTAINER, "operator": "In", "values": sorted(int(code) for code in JOB_GOES_ON)}
    return [
        {"action": "FailJob", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
        {"action": "Ignore", "onExitCodes": goes_on},
    ]


def _subdomain(job: FinetuneJob, nodes: int) -> Manifest:
    return {"subdomain": service_name(job.key.name)} if nodes > 1 else {}


def _retries(job: FinetuneJob, kind: Kind, spec: FinetuneJobSpec) -> int:
    """What is left of them: a child Job that takes another's place does not begin to count anew."""
    return PREFLIGHT_RETRIES if kind != "train" else max(0, spec.limits.retries - job.status.failed_attempts)


def queue_of(kind: Kind, spec: FinetuneJobSpec, settings: Settings) -> str:
    """The LocalQueue that the Job has to wait in; empty if it has not."""
    return settings.preflight_queue if kind != "train" else spec.scheduling.queue or ""


def _queue_labels(kind: Kind, spec: FinetuneJobSpec, settings: Settings) -> dict[str, str]:
    queue, priority = queue_of(kind, spec, settings), spec.scheduling.workload_priority_class
    labels = {QUEUE_LABEL: queue} if queue else {}
    # Checking data holds nothing that a more important job could use: its own queue decides about it.
    return labels | ({PRIORITY_LABEL: priority} if priority and kind == "train" else {})
