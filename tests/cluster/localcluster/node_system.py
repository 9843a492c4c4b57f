"""The node's view of the machine: its own mounts, its interface, and kernel settings that stay untouched.

Runs inside the cluster's namespaces, before any component starts.
"""

import subprocess
from pathlib import Path

from localcluster.plan import NODE_INTERFACE, Plan
from localcluster.timing import wait_until

# Folders into which components write by fixed names; a tmpfs keeps those writes off the machine,
# and two clusters from finding each other's sockets.
PRIVATE_FOLDERS = ("/run", "/tmp", "/var/lib", "/var/log")

# The kubelet insists on these and would set them for the whole machine. It reads before it writes:
# shown the values it wants, it changes nothing.
_SETTINGS_SHOWN = {
    "vm/overcommit_memory": "1",
    "vm/panic_on_oom": "0",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/keys/root_maxbytes": "25000000",
}

# These belong to the network namespace, so setting them is private.
_NETWORK_SETTINGS = {
    "net/ipv4/ip_forward": "1",
    "net/bridge/bridge-nf-call-iptables": "1",
}


def prepare(plan: Plan) -> None:
    """Make the namespaces a node."""
    for folder in PRIVATE_FOLDERS:
        _run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", folder)
    _show_settings()
    _run("hostname", plan.node_name)
    _bring_up_network(plan)
    make_cgroups(plan.cgroup)


def cgroup_hierarchies() -> list[Path]:
    """Mount points of all control-group hierarchies: one (version 2) or one per controller."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    return [Path(mount[1]) for mount in mounts if mount[2] in ("cgroup", "cgroup2")]


def make_cgroups(cgroup: str) -> None:
    """Make the cluster's root group in every hierarchy: the kubelet expects to find it."""
    for hierarchy in cgroup_hierarchies():
        group = hierarchy / cgroup.lstrip("/")
        group.mkdir(exist_ok=True)
        # Version 1 gives a new cpuset no processor and no memory node; nothing could run in it.
        for setting in ("cpuset.cpus", "cpuset.mems"):
            parent = hierarchy / setting
            if parent.exists() and not (group / setting).read_text().strip():
                (group / setting).write_text(parent.read_text())


def _show_settings() -> None:
    shown = Path("/run/kernel-settings")
    for setting, value in _SETTINGS_SHOWN.items():
        real = Path("/proc/sys") / setting
        if not real.exists():
            continue
        stand_in = shown / setting
        stand_in.parent.mkdir(parents=True, exist_ok=True)
        stand_in.write_text(f"{value}\n")
        _run("mount", "--bind", str(stand_in), str(real))


def _bring_up_network(plan: Plan) -> None:
    link = Path("/proc/self/net/dev")
    wait_until(lambda: f"{NODE_INTERFACE}:" in link.read_text(), seconds=30, what="the link to the machine")
    _run("ip", "link", "set", "lo", "up")
    _run("ip", "address", "add", f"{plan.node_address}/{plan.link_prefix}", "dev", NODE_INTERFACE)
    _run("ip", "link", "set", NODE_INTERFACE, "up")
    # kube-proxy rewrites cluster IPs after routing: the node itself needs some route to reach them.
    _run("ip", "route", "add", plan.services, "via", plan.host_address)
    for setting, value in _NETWORK_SETTINGS.items():
        (Path("/proc/sys") / setting).write_text(value)


def _run(*argv: str) -> None:
    subprocess.run(argv, check=True)
