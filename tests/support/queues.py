"""What a platform team sets up for tests with Kueue: quota for a GPU and for a pair, two priorities, a few queues.

The trainer trains on the CPU here, and fails where it is promised a GPU that it cannot see. So it is the namespace that
asks for the GPU: by a LimitRange, each container gets one, which the scheduler and Kueue count like any other.
"""

from typing import Any, Final

from kubectl import Kubectl

from localcluster.addons import GPU_RESOURCE
from localcluster.kueue import NAMESPACE_LABEL

GROUP: Final = "kueue.x-k8s.io/v1beta2"
CLUSTER_QUEUE: Final = "gpus"
PAIR: Final = "pair"
CHECKS: Final = "checks"
PRIORITIES: Final = {"nightly": 10, "urgent": 100}


def shared_objects() -> list[dict[str, Any]]:
    """Of the whole cluster."""
    gpu = {CLUSTER_QUEUE: {"cpu": "8", "memory": "16Gi", "ephemeral-storage": "1Ti", GPU_RESOURCE: "1"}}
    pair = {PAIR: gpu[CLUSTER_QUEUE] | {GPU_RESOURCE: "2"}}
    checks = {CHECKS: {"cpu": "1", "memory": "4Gi", "ephemeral-storage": "1Ti", GPU_RESOURCE: "4"}}
    return [
        {"apiVersion": GROUP, "kind": "ResourceFlavor", "metadata": {"name": "default"}},
        *(_cluster_queue(name, quota) for name, quota in (gpu | pair | checks).items()),
        *(
            {"apiVersion": GROUP, "kind": "WorkloadPriorityClass", "metadata": {"name": name}, "value": value}
            for name, value in PRIORITIES.items()
        ),
    ]


def local_queue(name: str, namespace: str, cluster_queue: str) -> dict[str, Any]:
    """A queue that jobs of a namespace can name."""
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": GROUP, "kind": "LocalQueue", "metadata": metadata, "spec": {"clusterQueue": cluster_queue}}


def give_queue(namespace: Kubectl) -> None:
    """Let Kueue manage a namespace, with queues for training and one GPU for each container."""
    name = str(namespace.namespace)
    namespace.run("label", "namespace", name, f"{NAMESPACE_LABEL}=true")
    one = {"type": "Container", "default": {GPU_RESOURCE: "1"}, "defaultRequest": {GPU_RESOURCE: "1"}}
    metadata = {"name": "one-gpu", "namespace": name}
    namespace.apply(
        local_queue("training", name, CLUSTER_QUEUE),
        local_queue(PAIR, name, PAIR),
        local_queue(CHECKS, name, CHECKS),
        {"apiVersion": "v1", "kind": "LimitRange", "metadata": metadata, "spec": {"limits": [one]}},
    )


def _cluster_queue(name: str, quota: dict[str, str]) -> dict[str, Any]:
    flavor = {
        "name": "default",
        "resources": [{"name": resource, "nominalQuota": amount} for resource, amount in quota.items()],
    }
    return {
        "apiVersion": GROUP,
        "kind": "ClusterQueue",
        "metadata": {"name": name},
        "spec": {
            "namespaceSelector": {},
            "preemption": {"withinClusterQueue": "LowerPriority"},
            "resourceGroups": [{"coveredResources": list(quota), "flavors": [flavor]}],
        },
    }
