"""Where a cluster keeps its files: one folder per cluster, in a cache outside the source tree."""

import os
from dataclasses import dataclass
from pathlib import Path


def cache_root() -> Path:
    """The folder for everything that is built or stored, shared by all clusters of this user."""
    chosen = os.environ.get("FINETUNE_CACHE")
    if chosen:
        return Path(chosen).absolute()
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base).absolute() / "finetune-operator"


@dataclass(frozen=True)
class Layout:
    """The paths of one named cluster."""

    name: str
    cache: Path

    @property
    def root(self) -> Path:
        """Everything that belongs to this cluster alone."""
        return self.cache / "clusters" / self.name

    @property
    def binaries(self) -> Path:
        """The compiled components, shared by all clusters."""
        return self.cache / "bin"

    @property
    def registry(self) -> Path:
        """Image layers, shared by all clusters: torch is pushed once."""
        return self.cache / "registry"

    @property
    def pki(self) -> Path:
        """Keys and certificates."""
        return self.root / "pki"

    @property
    def config(self) -> Path:
        """Files rendered at each start for the components to read."""
        return self.root / "config"

    @property
    def logs(self) -> Path:
        """One log per component."""
        return self.root / "logs"

    @property
    def audit_log(self) -> Path:
        """What programs in pods wrote to the API server, by pod."""
        return self.logs / "audit.log"

    @property
    def data(self) -> Path:
        """What outlives a stop: etcd, containerd's images, kubelet's volumes, S3 objects."""
        return self.root / "data"

    @property
    def plan(self) -> Path:
        """The network number, kept for the life of the cluster: certificates name its addresses."""
        return self.root / "plan.json"

    @property
    def state(self) -> Path:
        """Written by the supervisor: what runs, what died."""
        return self.root / "state.json"

    @property
    def process(self) -> Path:
        """The supervisor's process id and start time."""
        return self.root / "supervisor.json"

    @property
    def facts(self) -> Path:
        """What a user of the cluster needs to know (see `facts`)."""
        return self.root / "facts.json"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return self.root / "kubeconfig"

    def binary(self, name: str) -> str:
        """Path of a compiled component."""
        return str(self.binaries / name)


def layout_of(name: str) -> Layout:
    """The layout of the cluster called `name` in this user's cache."""
    return Layout(name=name, cache=cache_root())
