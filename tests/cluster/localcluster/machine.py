"""The machine's side of a cluster: its process, its link and its control groups."""

import fcntl
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from localcluster.layout import Layout
from localcluster.node_system import cgroup_hierarchies
from localcluster.plan import NODE_INTERFACE, Plan, choose_number, load_plan, save_plan
from localcluster.timing import wait_until

_MACHINE_LOCK = Path("/run/lock/finetune-operator.lock")
_NAMESPACES = ("--mount", "--net", "--pid", "--ipc", "--uts")


@dataclass(frozen=True)
class Process:
    """A process that cannot be mistaken for a later one with the same id."""

    pid: int
    started: int

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return _start_time(self.pid) == self.started

    @property
    def first_in_namespace(self) -> int:
        """The supervisor itself: the only child of `unshare`, in the machine's numbering; before and after, that."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return int(children[0]) if children else self.pid


@contextmanager
def machine_lock() -> Iterator[None]:
    """One start or stop at a time on this machine, whichever cache it uses."""
    _MACHINE_LOCK.parent.mkdir(parents=True, exist_ok=True)
    with _MACHINE_LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def plan_for(layout: Layout) -> Plan:
    """The cluster's plan; at its first start, with a network that nothing on this machine uses.

    Raises:
        RuntimeError: its network was taken by something else while it was stopped.
    """
    taken = _numbers_in_use()
    plan = load_plan(layout)
    if plan is None:
        plan = Plan(layout=layout, number=choose_number(layout.root, taken))
        save_plan(plan)
    elif plan.number in taken:
        raise RuntimeError(
            f"10.213.{plan.number}.0/24 is in use by another interface of this machine: "
            f"remove that, or move this cluster with 'down --purge' and 'up'"
        )
    return plan


def running(layout: Layout) -> Process | None:
    """The cluster's process, if it runs."""
    if not layout.process.exists():
        return None
    process = Process(**json.loads(layout.process.read_text()))
    return process if process.alive else None


def launch(plan: Plan) -> Process:
    """Start the supervisor in new namespaces and link them to the machine."""
    layout = plan.layout
    layout.logs.mkdir(parents=True, exist_ok=True)
    layout.state.unlink(missing_ok=True)
    source = str(Path(__file__).parent.parent)
    with (layout.logs / "supervisor.log").open("wb") as log:
        started = subprocess.Popen(
            ("unshare", *_NAMESPACES, "--fork", "--kill-child", "--mount-proc",
             sys.executable, "-m", "localcluster.supervisor", layout.name),
            stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True, cwd="/",
            env={**os.environ, "PYTHONPATH": source, "FINETUNE_CACHE": str(layout.cache)},
        )  # fmt: skip
    process = Process(pid=started.pid, started=_start_time(started.pid) or 0)
    layout.process.write_text(json.dumps({"pid": process.pid, "started": process.started}) + "\n")
    _link(plan, process)
    return process


def stop(plan: Plan, process: Process | None) -> None:
    """End the cluster's process and wait until the machine shows no trace of it."""
    if process is not None:
        _signal(process.first_in_namespace, signal.SIGTERM)
        try:
            wait_until(lambda: not process.alive, seconds=10, what="the cluster to stop")
        except TimeoutError:
            _signal(process.pid, signal.SIGKILL)
            wait_until(lambda: not process.alive, seconds=10, what="the cluster to be killed")
    kill_members(plan.cgroup)
    remove_interface(plan.host_interface)
    wait_until(lambda: remove_cgroups(plan.cgroup), seconds=60, what=f"control groups {plan.cgroup} to empty")
    plan.layout.process.unlink(missing_ok=True)


def kill_members(cgroup: str) -> None:
    """End what still runs in the cluster's control groups; nobody else puts processes there."""
    for hierarchy in cgroup_hierarchies():
        for members in (hierarchy / cgroup.lstrip("/")).rglob("cgroup.procs"):
            for pid in _members(members):
                _signal(pid, signal.SIGKILL)


def remove_interface(name: str) -> None:
    """Remove the machine's end of the link, and with it the other one.

    It would go with the cluster's network namespace, but the kernel keeps that for as long as a socket of a
    dead process still waits for its peer: minutes, where both were killed.
    """
    if (Path("/sys/class/net") / name).exists():
        # The kernel may be quicker: then the command fails, and all is well.
        subprocess.run(("ip", "link", "delete", name), check=False, capture_output=True)
    wait_until(lambda: not (Path("/sys/class/net") / name).exists(), seconds=60, what=f"interface {name} to go")


def remove_cgroups(cgroup: str) -> bool:
    """Remove the cluster's control groups, leaves first; False while a dying process still holds one."""
    for hierarchy in cgroup_hierarchies():
        root = hierarchy / cgroup.lstrip("/")
        for folder, _, _ in os.walk(root, topdown=False):
            try:
                Path(folder).rmdir()
            except OSError:
                return False
    return True


def inside(process: Process, *argv: str) -> tuple[str, ...]:
    """`argv`, to be run in the cluster's mount and network namespaces."""
    return ("nsenter", f"--target={process.first_in_namespace}", "--mount", "--net", *argv)


def _members(file: Path) -> list[int]:
    try:
        # 0 stands for a process that this one may not see, and would be a signal to this one's own group.
        return [pid for pid in map(int, file.read_text().split()) if pid]
    except OSError:  # removed, or a threaded group, which cannot be read
        return []


def _link(plan: Plan, process: Process) -> None:
    own = Path("/proc/self/ns/net").readlink()

    def separated() -> bool:
        if not process.alive:
            raise RuntimeError(f"the supervisor ended at once; see {plan.layout.logs / 'supervisor.log'}")
        return Path(f"/proc/{process.pid}/ns/net").readlink() != own

    wait_until(separated, seconds=10, what="the cluster's network namespace", pause=0.02)
    interface = plan.host_interface
    peer = ("peer", "name", NODE_INTERFACE, "netns", str(process.pid))
    _ip("link", "add", interface, "type", "veth", *peer)
    _ip("address", "add", f"{plan.host_address}/{plan.link_prefix}", "dev", interface)
    _ip("link", "set", interface, "up")


def _ip(*argv: str) -> None:
    subprocess.run(("ip", *argv), check=True)


def _numbers_in_use() -> set[int]:
    routes = subprocess.run(("ip", "-4", "route", "show", "table", "all"), check=True, capture_output=True, text=True)
    return {int(number) for number in re.findall(r"\b10\.213\.(\d+)\.", routes.stdout)}


def _start_time(pid: int) -> int | None:
    """Start time in clock ticks since boot; None if there is no such process or it is a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The command's name, in parentheses, may hold spaces: fields are counted from behind it.
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] == "Z" else int(fields[19])


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
