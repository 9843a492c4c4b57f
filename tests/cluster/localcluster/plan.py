"""The fixed facts of one cluster: its number, and the addresses and names that follow from it.

Cluster N owns 10.213.N.0/24 and nothing else, so any number of clusters can run beside each other.
"""

import hashlib
import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from localcluster.layout import Layout

NODE_INTERFACE = "eth0"
API_PORT = 6443
S3_PORT = 8333
REGISTRY_PORT = 5000
REGISTRY_NAME = "registry.finetune.test"
S3_SERVICE = "s3.storage.svc"
CLUSTER_DOMAIN = "cluster.local"


@dataclass(frozen=True)
class Plan:
    """One cluster's number, with every address and name derived from it."""

    layout: Layout
    number: int

    @property
    def host_address(self) -> str:
        """The machine's end of the one link to the cluster."""
        return f"10.213.{self.number}.1"

    @property
    def node_address(self) -> str:
        """The node's address: API server, registry, S3 and DNS listen here."""
        return f"10.213.{self.number}.2"

    @property
    def link_prefix(self) -> int:
        """Prefix length of the link's subnet 10.213.N.0/26."""
        return 26

    @property
    def services(self) -> str:
        """Cluster IPs."""
        return f"10.213.{self.number}.64/26"

    @property
    def api_service(self) -> str:
        """The first cluster IP, which Kubernetes gives to `kubernetes.default`."""
        return f"10.213.{self.number}.65"

    @property
    def pods(self) -> str:
        """Pod addresses: 126, of which the kubelet uses at most 110."""
        return f"10.213.{self.number}.128/25"

    @property
    def host_interface(self) -> str:
        """The machine's only interface for this cluster."""
        return f"finetune{self.number}"

    @property
    def cgroup(self) -> str:
        """Root of all the cluster's control groups; the number keeps two caches' namesakes apart."""
        return f"/finetune-{self.layout.name}-{self.number}"

    @property
    def node_name(self) -> str:
        """The node's name in Kubernetes."""
        return f"{self.layout.name}-node"

    @property
    def api_server(self) -> str:
        """URL of the API server, from the host and from the node."""
        return f"https://{self.node_address}:{API_PORT}"

    @property
    def registry_address(self) -> str:
        """Where images are pushed."""
        return f"{self.node_address}:{REGISTRY_PORT}"


def first_choice(root: Path) -> int:
    """The number a cluster would like: a hash of its folder, so that clusters seldom compete."""
    return int.from_bytes(hashlib.sha256(str(root).encode()).digest()[:4], "big") % 256


def choose_number(root: Path, taken: Collection[int]) -> int:
    """The first free number from `first_choice` on.

    Raises:
        RuntimeError: all 256 are taken.
    """
    start = first_choice(root)
    for step in range(256):
        number = (start + step) % 256
        if number not in taken:
            return number
    raise RuntimeError("all 256 networks 10.213.N.0/24 are in use on this machine; stop a cluster first")


def load_plan(layout: Layout) -> Plan | None:
    """The plan chosen at the cluster's first start, or None before that."""
    if not layout.plan.exists():
        return None
    return Plan(layout=layout, number=int(json.loads(layout.plan.read_text())["number"]))


def save_plan(plan: Plan) -> None:
    """Keep the number for the life of the cluster."""
    plan.layout.plan.parent.mkdir(parents=True, exist_ok=True)
    plan.layout.plan.write_text(json.dumps({"number": plan.number}) + "\n")
