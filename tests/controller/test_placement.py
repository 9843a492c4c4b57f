"""spec.resources and spec.scheduling in the training Job: nothing that is accepted is ignored."""

from collections.abc import Iterator
from typing import Any

import cluster_objects as o
import pytest
from pydantic import BaseModel
from scenarios import VALIDATED, Known, decision

from finetune_api.names import PRIORITY_LABEL, QUEUE_LABEL
from finetune_api.request import ENVIRONMENT_VARIABLE, TrainerRequest
from finetune_api.spec.resources import Resources, Scheduling
from finetune_operator.actions import CreateJob

LABELS = {"finetune.dev/job": "tune", "finetune.dev/kind": "train"}
NEAR_OWN = {"labelSelector": {"matchLabels": LABELS}, "topologyKey": "example.com/rack"}
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"


def training_job(spec: o.Raw, **metadata: Any) -> o.Raw:
    """The Job that the operator creates for a validated FinetuneJob."""
    (create,) = decision(Known(spec=spec, status=VALIDATED, metadata=metadata)).actions
    assert isinstance(create, CreateJob)
    return create.manifest


def pod(manifest: o.Raw) -> o.Raw:
    return manifest["spec"]["template"]["spec"]


def requested(manifest: o.Raw, resource: str) -> str | None:
    """What the trainer requests of a resource; its limit is the same."""
    resources = pod(manifest)["containers"][0]["resources"]
    assert resources["requests"] == resources["limits"]
    return resources["requests"].get(resource)


def volume(manifest: o.Raw, name: str, kind: str = "emptyDir") -> o.Raw:
    return next((each[kind] for each in pod(manifest)["volumes"] if each["name"] == name), {})


def annotation(manifest: o.Raw, name: str) -> list[str | None]:
    """On the Job and on its pods."""
    both = (manifest["metadata"], manifest["spec"]["template"]["metadata"])
    return [metadata.get("annotations", {}).get(name) for metadata in both]


def told(manifest: o.Raw) -> TrainerRequest:
    """What the trainer is told."""
    (text,) = [each["value"] for each in pod(manifest)["containers"][0]["env"] if each["name"] == ENVIRONMENT_VARIABLE]
    return TrainerRequest.model_validate_json(text)


def affinity(manifest: o.Raw, kind: str) -> o.Raw:
    return pod(manifest).get("affinity", {}).get(kind, {})


TOPOLOGY = {"topology": {"key": "example.com/rack"}}
NODES = [{"key": "zone", "operator": "In", "values": ["a"]}, {"key": "broken", "operator": "DoesNotExist"}]
EXPRESSIONS = {"matchExpressions": [NODES[0], {"key": "broken", "operator": "DoesNotExist"}]}
TOLERATION = {"key": "dedicated", "operator": "Exists", "effect": "NoSchedule"}
QUEUE = "scheduling.volcano.sh/queue-name"

# field: (spec, where it shows in the Job, what stands there)
SHOWN: dict[str, tuple[o.Raw, Any, Any]] = {
    "resources.nodes": (
        {"resources": {"nodes": 3}},
        lambda job: [job["spec"][name] for name in ("parallelism", "completions")],
        [3, 3],
    ),
    "resources.parallelism": (
        {"resources": {"gpus": {"count": 2}, "parallelism": "fsdp"}},
        lambda job: told(job).spec.resources.parallelism,
        "fsdp",
    ),
    "resources.gpus.count": (
        {"resources": {"gpus": {"count": 8}}},
        lambda job: requested(job, "nvidia.com/gpu"),
        "8",
    ),
    "resources.gpus.resourceName": (
        {"resources": {"gpus": {"resourceName": "nvidia.com/mig-1g.10gb"}}},
        lambda job: requested(job, "nvidia.com/mig-1g.10gb"),
        "1",
    ),
    "resources.cpu": ({"resources": {"cpu": "9"}}, lambda job: requested(job, "cpu"), "9"),
    "resources.memory": ({"resources": {"memory": "9Gi"}}, lambda job: requested(job, "memory"), "9Gi"),
    "resources.sharedMemory": (
        {"resources": {"sharedMemory": "9Gi"}},
        lambda job: volume(job, "shm"),
        {"medium": "Memory", "sizeLimit": "9Gi"},
    ),
    "resources.modelCache": (
        {"resources": {"modelCache": "models"}},
        lambda job: volume(job, "models", "persistentVolumeClaim"),
        {"claimName": "models"},
    ),
    "resources.scratch": (
        {"resources": {"scratch": "9Gi"}},
        lambda job: (requested(job, "ephemeral-storage"), volume(job, "work")),
        ("9Gi", {"sizeLimit": "9Gi"}),
    ),
    "scheduling.queue": (
        {"scheduling": {"queue": "gpus"}},
        lambda job: (job["metadata"]["labels"].get(QUEUE_LABEL), job["spec"].get("suspend")),
        ("gpus", True),
    ),
    "scheduling.workloadPriorityClass": (
        {"scheduling": {"queue": "gpus", "workloadPriorityClass": "urgent"}},
        lambda job: job["metadata"]["labels"].get(PRIORITY_LABEL),
        "urgent",
    ),
    "scheduling.priorityClassName": (
        {"scheduling": {"priorityClassName": "low"}},
        lambda job: pod(job).get("priorityClassName"),
        "low",
    ),
    "scheduling.nodeSelector": (
        {"scheduling": {"nodeSelector": {"pool": "gpu"}}},
        lambda job: pod(job).get("nodeSelector"),
        {"pool": "gpu"},
    ),
    "scheduling.nodeAffinity": (
        {"scheduling": {"nodeAffinity": NODES}},
        lambda job: affinity(job, "nodeAffinity"),
        {REQUIRED: {"nodeSelectorTerms": [EXPRESSIONS]}},
    ),
    "scheduling.tolerations": (
        {"scheduling": {"tolerations": [TOLERATION]}},
        lambda job: pod(job).get("tolerations"),
        [TOLERATION],
    ),
    "scheduling.topology.key": (
        {"scheduling": TOPOLOGY},
        lambda job: affinity(job, "podAffinity"),
        {PREFERRED: [{"weight": 100, "podAffinityTerm": NEAR_OWN}]},
    ),
    "scheduling.topology.required": (
        {"scheduling": {"topology": {"key": "example.com/rack", "required": True}}},
        lambda job: affinity(job, "podAffinity"),
        {REQUIRED: [NEAR_OWN]},
    ),
    "scheduling.schedulerName": (
        {"scheduling": {"schedulerName": "volcano"}},
        lambda job: pod(job).get("schedulerName"),
        "volcano",
    ),
    "scheduling.annotations": (
        {"scheduling": {"annotations": {QUEUE: "gold"}}},
        lambda job: annotation(job, QUEUE),
        ["gold", "gold"],
    ),
}


def fields(model: type[BaseModel], path: str) -> Iterator[str]:
    """Every field of a section by its path; a list or map counts as one."""
    for name, field in model.model_fields.items():
        kinds = (field.annotation, *getattr(field.annotation, "__args__", ()))
        inner = next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)
        here = f"{path}.{field.alias or name}"
        is_section = inner is not None and getattr(field.annotation, "__origin__", None) is not list
        yield from fields(inner, here) if inner is not None and is_section else [here]


@pytest.mark.parametrize("field", SHOWN)
def test_what_is_asked_for_stands_in_the_job(field: str) -> None:
    spec, find, expected = SHOWN[field]
    assert find(training_job(spec)) == expected


@pytest.mark.parametrize("field", SHOWN)
def test_and_only_if_it_is_asked_for(field: str) -> None:
    _, find, expected = SHOWN[field]
    assert find(training_job({})) != expected


def test_every_field_is_in_the_table() -> None:
    assert set(SHOWN) == {*fields(Resources, "resources"), *fields(Scheduling, "scheduling")}


def test_a_job_without_gpus_requests_none_and_has_the_runtimes_shared_memory() -> None:
    made = training_job({"resources": {"gpus": {"count": 0}}})
    assert requested(made, "nvidia.com/gpu") is None
    assert volume(made, "shm") == {}


def test_shared_memory_of_a_gpu_pod_is_bounded_by_its_memory_alone() -> None:
    assert volume(training_job({}), "shm") == {"medium": "Memory"}


@pytest.mark.parametrize(("required", "word"), [(True, "required"), (False, "preferred")])
def test_in_a_queue_the_topology_is_kueues_business(required: bool, word: str) -> None:
    near = {"key": "example.com/rack", "required": required}
    made = training_job({"scheduling": {"queue": "gpus", "topology": near}})
    assert annotation(made, f"kueue.x-k8s.io/podset-{word}-topology") == [None, "example.com/rack"]
    assert "affinity" not in pod(made)


def test_autoscalers_are_told_not_to_disturb_training_and_nothing_of_preflight() -> None:
    for name, value in (
        ("cluster-autoscaler.kubernetes.io/safe-to-evict", "false"),
        ("karpenter.sh/do-not-disrupt", "true"),
    ):
        assert annotation(training_job({}), name) == [None, value]
    (create,) = decision(Known()).actions
    assert isinstance(create, CreateJob)
    assert "annotations" not in create.manifest["spec"]["template"]["metadata"]


RESERVED = (
    "app.kubernetes.io/instance",
    "argocd.argoproj.io/instance",
    "kustomize.toolkit.fluxcd.io/name",
    "kueue.x-k8s.io/queue-name",
    "batch.kubernetes.io/job-name",
    "job-name",
    "controller-uid",
    "finetune.dev/kind",
)


def test_labels_are_handed_down_to_jobs_and_pods_but_for_those_of_controllers() -> None:
    given = {"cost-centre": "4711", "example.com/team": "a", **dict.fromkeys(RESERVED, "mine")}
    made = training_job({}, labels=given)
    own = {"app.kubernetes.io/managed-by": "finetune-operator", **LABELS}
    for metadata in (made["metadata"], made["spec"]["template"]["metadata"]):
        assert metadata["labels"] == {"cost-centre": "4711", "example.com/team": "a", **own}


def test_labels_and_placement_change_nothing_else() -> None:
    plain, placed = training_job({}), training_job({"scheduling": TOPOLOGY}, labels={"cost-centre": "4711"})
    for made in (plain, placed):
        made["metadata"].pop("labels")
        made["spec"]["template"]["metadata"].pop("labels")
        pod(made).pop("affinity", None)
        environment = pod(made)["containers"][0]["env"]
        assert environment.pop(0)["name"] == ENVIRONMENT_VARIABLE
    assert placed == plain
