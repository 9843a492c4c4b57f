"""Start, stop and describe a cluster."""

import datetime
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from kubectl import Kubectl, KubectlError

from localcluster import facts, machine
from localcluster.addons import addons, gpu_patch
from localcluster.build import build_all, pause_archive
from localcluster.component import TcpPort
from localcluster.console import step
from localcluster.doctor import BROWSER, can_install, complaints, install, missing_tools
from localcluster.layout import Layout
from localcluster.machine import Process
from localcluster.node import CONTAINERD_SOCKET
from localcluster.plan import REGISTRY_PORT, S3_PORT, Plan, load_plan
from localcluster.state import load_states
from localcluster.storage import identities, missing_buckets
from localcluster.timing import wait_until


def provide_browser() -> None:
    """Install the browser that tests of pages use, where that is possible without asking."""
    if shutil.which(BROWSER.program) is None and can_install():
        with step(f"install {BROWSER.package}"):
            install([BROWSER])


def provide_tools() -> None:
    """Install missing tools where that is possible.

    Raises:
        RuntimeError: something is missing that cannot be installed from here.
    """
    if missing_tools() and can_install():
        with step(f"install {', '.join(tool.package for tool in missing_tools())}"):
            install(missing_tools())
    lacking = complaints()
    if lacking:
        raise RuntimeError("\n".join(lacking))


def up(layout: Layout) -> facts.Facts:
    """Start the cluster, or make sure that the running one is complete; returns its facts."""
    provide_tools()
    build_all(layout)
    layout.root.mkdir(parents=True, exist_ok=True, mode=0o700)
    with machine.machine_lock():
        process = machine.running(layout)
        if process is None:
            remains = load_plan(layout)
            if remains is not None:
                machine.stop(remains, None)
            process = machine.launch(machine.plan_for(layout))
    plan = load_plan(layout)
    assert plan is not None
    _settle(plan, process)
    known = identities(layout.root / "s3-keys.json")
    found = facts.facts_of(plan, known, layout.pki / "s3-ca.crt")
    facts.save(layout.facts, found)
    return found


def down(layout: Layout, *, purge: bool) -> None:
    """Stop the cluster; with `purge` also delete its data. Nothing to stop is no error."""
    plan = load_plan(layout)
    if plan is not None:
        with machine.machine_lock(), step(f"stop cluster {layout.name}"):
            machine.stop(plan, machine.running(layout))
    if purge and layout.root.exists():
        with step(f"delete {layout.root}"):
            shutil.rmtree(layout.root)


def status(layout: Layout) -> tuple[bool, list[str]]:
    """Whether everything runs, and a line per component."""
    if machine.running(layout) is None:
        return False, [f"cluster {layout.name} is not running"]
    states = load_states(layout.state)
    lines = [f"{state.name:<24} {state.word:<8} {_detail(state.exit_code, state.log)}" for state in states]
    return all(state.word == "running" for state in states), lines


def _detail(exit_code: int | None, log: str) -> str:
    return log if exit_code is None else f"exit code {exit_code}, see {log}"


def _settle(plan: Plan, process: Process) -> None:
    layout = plan.layout
    kubectl = Kubectl(Path(layout.binary("kubectl")), layout.kubeconfig)
    waits = (
        ("the API server", 120, lambda: _succeeds(kubectl, "get", "--raw=/readyz")),
        ("containerd", 60, lambda: _inside_succeeds(process, "test", "-S", str(CONTAINERD_SOCKET))),
    )
    for what, seconds, condition in waits:
        _wait(layout, what, seconds, condition)
    _import_pause_image(layout, process)
    kubectl.apply(*addons(plan))
    _wait(layout, "the node to be ready", 120, lambda: _node_ready(kubectl, plan))
    patch = ("--subresource=status", "--type=json", f"--patch={json.dumps(gpu_patch())}")
    kubectl.run("patch", "node", plan.node_name, *patch)
    _wait(layout, "pods to be admitted", 60, lambda: _succeeds(kubectl, "get", "serviceaccount", "default"))
    registry = TcpPort(plan.node_address, REGISTRY_PORT)
    _wait(layout, "the image registry", 30, registry.answers)
    store = TcpPort(plan.node_address, S3_PORT)
    _wait(layout, "the object store", 60, store.answers)
    _wait(layout, "the buckets", 60, lambda: _make_buckets(layout, process))


def _wait(layout: Layout, what: str, seconds: float, condition: Callable[[], bool]) -> None:
    def holds() -> bool:
        dead = [state for state in load_states(layout.state) if state.word == "died"]
        if dead:
            raise RuntimeError(f"{dead[0].name} died ({_detail(dead[0].exit_code, dead[0].log)})")
        if machine.running(layout) is None:
            raise RuntimeError(f"the cluster ended; see {layout.logs / 'supervisor.log'}")
        return condition()

    with step(f"wait for {what}"):
        wait_until(holds, seconds=seconds, what=f"{what}; logs are in {layout.logs}")


def _succeeds(kubectl: Kubectl, *argv: str) -> bool:
    try:
        kubectl.run(*argv)
    except KubectlError:
        return False
    return True


def _node_ready(kubectl: Kubectl, plan: Plan) -> bool:
    """Whether this start's kubelet called the node ready; the last start's word is still in etcd."""
    node = kubectl.get("node", plan.node_name)
    conditions = node["status"].get("conditions", []) if node else []
    launched = datetime.datetime.fromtimestamp(plan.layout.process.stat().st_mtime, datetime.UTC)
    return any(
        entry["type"] == "Ready"
        and entry["status"] == "True"
        and datetime.datetime.fromisoformat(entry["lastHeartbeatTime"]) > launched
        for entry in conditions
    )


def _import_pause_image(layout: Layout, process: Process) -> None:
    argv = ("ctr", f"--address={CONTAINERD_SOCKET}", "--namespace=k8s.io", "images", "import")
    subprocess.run(machine.inside(process, *argv, str(pause_archive(layout))), check=True, stdout=subprocess.DEVNULL)


def _inside_succeeds(process: Process, *argv: str) -> bool:
    return subprocess.run(machine.inside(process, *argv), check=False, capture_output=True).returncode == 0


def _make_buckets(layout: Layout, process: Process) -> bool:
    def shell(commands: str) -> str:
        argv = machine.inside(process, layout.binary("weed"), "shell", "-master=127.0.0.1:9333")
        return subprocess.run(argv, input=commands, text=True, capture_output=True, check=True, timeout=30).stdout

    try:
        lacking = missing_buckets(shell("s3.bucket.list\n"))
        shell("".join(f"s3.bucket.create -name {bucket}\n" for bucket in lacking))
    except subprocess.CalledProcessError:
        return False
    return True
