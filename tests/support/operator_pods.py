"""The operator's pods on the local cluster, and the way to their processes behind Kubernetes' back."""

from dataclasses import dataclass
from typing import Any

from examples.demo.job import OPERATOR_NAMESPACE, RELEASE
from kubectl import Kubectl

from localcluster.layout import layout_of
from localcluster.node_system import cgroup_hierarchies
from localcluster.plan import load_plan


@dataclass(frozen=True)
class OperatorPods:
    """The pods of the operator's Deployment, on the local cluster called `cluster`."""

    kubectl: Kubectl
    """In the operator's namespace."""
    cluster: str

    def names(self) -> list[str]:
        """Those that nobody has deleted."""
        pods = self.kubectl.items("pods", "-l", f"app.kubernetes.io/name={RELEASE}")
        return [pod["metadata"]["name"] for pod in pods if "deletionTimestamp" not in pod["metadata"]]

    def container(self, name: str) -> dict[str, Any]:
        """The status of a pod's only container."""
        (found,) = (self.kubectl.get("pod", name) or {})["status"]["containerStatuses"]
        return dict(found)

    def lease(self) -> dict[str, Any]:
        """Who acts, as the Lease says it; empty before anybody did."""
        return (self.kubectl.get("lease", RELEASE) or {}).get("spec", {})

    def leader(self) -> str:
        """The pod that the Lease names."""
        return str(self.lease().get("holderIdentity", "")).partition("_")[0]

    def leads(self, name: str) -> bool:
        """What a pod says itself, at its metrics port."""
        path = f"/api/v1/namespaces/{OPERATOR_NAMESPACE}/pods/{name}:8080/proxy/metrics"
        return f'leader_election_master_status{{name="{RELEASE}"}} 1.0' in self.kubectl.run("get", "--raw", path)

    def process(self, name: str) -> int:
        """A pod's process, in the machine's numbering.

        In its pod it is the first one, which the kernel keeps from any SIGKILL and SIGSTOP that comes from inside.
        """
        container = self.container(name)["containerID"].removeprefix("containerd://")
        plan = load_plan(layout_of(self.cluster))
        assert plan is not None, "the pods are not on the local cluster"
        groups = [
            group
            for hierarchy in cgroup_hierarchies()
            for group in (hierarchy / plan.cgroup.lstrip("/")).rglob(f"{container}/cgroup.procs")
        ]
        (found,) = {int(pid) for group in groups for pid in group.read_text().split()}
        return found
