"""The one process of a cluster: first process of its own mount, network, PID, IPC and UTS namespaces.

Every component is its child, so ending it ends the cluster: the kernel kills what is left in the PID
namespace, and with the namespaces go the mounts, the interfaces and the packet filter's rules.
A component that dies stays dead and is reported: a silent restart would hide what the tests are to find.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

from localcluster import node_system
from localcluster.component import Component
from localcluster.control_plane import control_plane
from localcluster.credentials import make_credentials
from localcluster.layout import layout_of
from localcluster.node import node
from localcluster.plan import Plan, load_plan
from localcluster.services import services
from localcluster.state import ComponentState, save_state
from localcluster.timing import now

# Those that keep data get SIGTERM and this long to write it; all others are simply killed.
_STOP_SECONDS = 5.0
_KEEPS_DATA = ("etcd", "seaweedfs")


class Supervisor:
    """Starts components when what they need answers, and records their ends."""

    def __init__(self, plan: Plan, components: list[Component]) -> None:
        self.plan = plan
        self.waiting = components
        self.components = {component.name: component for component in components}
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.ended: dict[str, int] = {}
        self.stopping = False

    def run(self) -> None:
        """Serve until asked to stop."""
        signal.signal(signal.SIGTERM, self._ask_to_stop)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        while not self.stopping:
            changed = self._start_what_can() + self._reap()
            if changed:
                self._record()
            time.sleep(0.1)
        self._stop()

    def _ask_to_stop(self, _signal: int, _frame: FrameType | None) -> None:
        self.stopping = True

    def _start_what_can(self) -> int:
        startable = [component for component in self.waiting if self._needs_met(component)]
        for component in startable:
            self.running[component.name] = self._start(component)
            self.waiting.remove(component)
        return len(startable)

    def _needs_met(self, component: Component) -> bool:
        return all(name in self.running and self.components[name].ready.answers() for name in component.needs)

    def _start(self, component: Component) -> subprocess.Popen[bytes]:
        with (self.plan.layout.logs / f"{component.name}.log").open("ab") as log:
            return subprocess.Popen(
                component.argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **component.environment},
            )

    def _reap(self) -> int:
        """Collect ended children, among them orphans of containers, which come to the first process."""
        by_pid = {process.pid: name for name, process in self.running.items()}
        count = 0
        while (ended := _next_ended_child()) is not None:
            pid, status = ended
            name = by_pid.get(pid)
            if name:
                self.ended[name] = os.waitstatus_to_exitcode(status)
                count += 1
        return count

    def _record(self) -> None:
        states = []
        for name, component in self.components.items():
            process = self.running.get(name)
            log = str(self.plan.layout.logs / f"{component.name}.log")
            exit_code = self.ended.get(name)
            states.append(ComponentState(name=name, started=process is not None, exit_code=exit_code, log=log))
        save_state(self.plan.layout.state, states)

    def _stop(self) -> None:
        alive = [self.running[name] for name in _KEEPS_DATA if name in self.running and name not in self.ended]
        for process in alive:
            process.terminate()
        deadline = time.monotonic() + _STOP_SECONDS
        for process in alive:
            try:
                process.wait(timeout=max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()


def _next_ended_child() -> tuple[int, int] | None:
    try:
        pid, status = os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return None
    return (pid, status) if pid else None


def main(name: str) -> None:
    """Run the cluster `name` in the namespaces this process was started in."""
    plan = load_plan(layout_of(name))
    if plan is None:
        raise RuntimeError(f"cluster {name} was never set up: run 'up' first")
    for folder in (plan.layout.config, plan.layout.logs, plan.layout.data, plan.layout.registry):
        folder.mkdir(parents=True, exist_ok=True)
    credentials = make_credentials(plan, now())
    node_system.prepare(plan)
    components = [*control_plane(plan, credentials), *node(plan, credentials), *services(plan, credentials)]
    for component in components:
        Path(plan.layout.logs / f"{component.name}.log").write_bytes(b"")
    Supervisor(plan, components).run()


if __name__ == "__main__":
    main(sys.argv[1])
