"""Objects every cluster starts with: rights of its own components, and the name of its object store."""

from typing import Any

from localcluster.plan import S3_PORT, Plan

GPU_RESOURCE = "example.com/gpu"
GPU_COUNT = 4


def addons(plan: Plan) -> list[dict[str, Any]]:
    """Manifests, applied at each start."""
    dns = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "system:coredns"}
    kubelet_client = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "kubelet-client"}
    return [
        _cluster_role(
            "system:coredns",
            [
                {"apiGroups": [""], "resources": ["services", "namespaces"], "verbs": ["list", "watch"]},
                {
                    "apiGroups": ["discovery.k8s.io"],
                    "resources": ["endpointslices"],
                    "verbs": ["list", "watch"],
                },
            ],
        ),
        _binding("system:coredns", "system:coredns", dns),
        _binding("finetune:kubelet-client", "system:kubelet-api-admin", kubelet_client),
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "storage"}},
        *_object_store(plan),
    ]


def _object_store(plan: Plan) -> list[dict[str, Any]]:
    """A Service without selector: its one endpoint is the node, where SeaweedFS listens."""
    meta = {"name": "s3", "namespace": "storage"}
    port = {"name": "https", "port": S3_PORT, "protocol": "TCP"}
    return [
        {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": {"ports": [port]}},
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {**meta, "labels": {"kubernetes.io/service-name": "s3"}},
            "addressType": "IPv4",
            "ports": [port],
            "endpoints": [{"addresses": [plan.node_address], "conditions": {"ready": True}}],
        },
    ]


def gpu_patch() -> list[dict[str, str]]:
    """A JSON patch of the node's status. The kubelet clears extended resources whenever it registers."""
    path = GPU_RESOURCE.replace("/", "~1")
    return [
        {"op": "add", "path": f"/status/{part}/{path}", "value": str(GPU_COUNT)} for part in ("capacity", "allocatable")
    ]


def _cluster_role(name: str, rules: list[dict[str, Any]]) -> dict[str, Any]:
    kind = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole"}
    return {**kind, "metadata": {"name": name}, "rules": rules}


def _binding(name: str, role: str, subject: dict[str, str]) -> dict[str, Any]:
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [subject],
    }
