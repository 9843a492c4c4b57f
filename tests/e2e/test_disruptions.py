"""What the cluster does to a training pod, and that the job goes on, completes and tells of it."""

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pytest
from kubectl import KubectlError
from team import Team

pytestmark = pytest.mark.cluster

LONG = {
    "training": {"tokensPerStep": 64, "learningRate": 0.01, "epochs": 80},
    "checkpoint": {"everySteps": 5},
}
"""Long enough to be disturbed in the middle, however loaded the machine is."""

EAT_MEMORY = "import time; held = bytearray(b'x') * (100 << 20); time.sleep(600)"
EATERS = f"import subprocess, sys; [subprocess.Popen([sys.executable, '-c', {EAT_MEMORY!r}]) for _ in range(24)]"
"""More than the container may have, each of them less than the trainer: the kernel kills the largest process."""


def trainer_pod(team: Team, name: str) -> str:
    pods = team.kubectl.items("pods", "-l", f"finetune.dev/job={name},finetune.dev/kind=train")
    (running,) = [pod["metadata"]["name"] for pod in pods if pod["status"]["phase"] == "Running"]
    return str(running)


def evict(team: Team, name: str) -> None:
    pod, namespace = trainer_pod(team, name), team.kubectl.namespace
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": namespace}}
    team.kubectl.run(
        "create", "--raw", f"/api/v1/namespaces/{namespace}/pods/{pod}/eviction", "-f", "-", stdin=json.dumps(body)
    )


def delete(team: Team, name: str) -> None:
    team.kubectl.run("delete", "pod", trainer_pod(team, name), "--wait=false")


def drain(team: Team, name: str) -> None:
    """Drain the node of the job's pods alone, see the job wait for a node, and give the node back."""
    (node,) = team.kubectl.items("nodes")
    node_name = node["metadata"]["name"]
    try:
        team.kubectl.run(
            "drain", node_name, f"--pod-selector=finetune.dev/job={name}", "--delete-emptydir-data", timeout=240
        )
        team.until(name, "no node", lambda job: "Waiting for a node" in job["status"]["message"], timeout=120)
    finally:
        team.kubectl.run("uncordon", node_name)


def run_out_of_memory(team: Team, name: str) -> None:
    """Fill the container's memory from inside until the kernel takes the trainer, and with it the container."""
    pod = trainer_pod(team, name)

    def is_killed() -> bool:
        seen = team.kubectl.get("pod", pod)
        return seen is None or seen["status"]["phase"] != "Running"

    with suppress(KubectlError):  # of an exec into the container that is gone by then
        team.kubectl.run("exec", pod, "--", "python3", "-c", EATERS)
    team.kubectl.wait(f"{pod} is killed", is_killed, timeout=120)


@dataclass(frozen=True)
class Disruption:
    """One way to lose a pod."""

    name: str
    happens: Callable[[Team, str], None]
    outcome: str
    reason: str
    is_warned: bool = True
    """The trainer gets SIGTERM and time to save."""


DISRUPTIONS = [
    Disruption("drain", drain, "Preempted", "Disrupted"),
    Disruption("eviction", evict, "Preempted", "Disrupted"),
    Disruption("deletion", delete, "Preempted", "Preempted"),
    Disruption("out-of-memory", run_out_of_memory, "Failed", "OutOfMemory", is_warned=False),
]


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=case.name, marks=pytest.mark.slow(name=f"disruption by {case.name}", minutes=2))
        for case in DISRUPTIONS
    ],
)
def test_a_job_that_loses_its_pod_goes_on_completes_and_tells_the_story(team: Team, case: Disruption) -> None:
    name = f"lost-by-{case.name}"
    team.submit(team.job(name, **LONG))
    team.until(name, "a checkpoint in training", has_checkpoint)
    case.happens(team, name)
    status = team.completed(name)
    assert status["artifact"]["verified"] is True
    first, *_, last = status["attempts"]
    assert (first["outcome"], first["reason"]) == (case.outcome, case.reason)
    assert last["outcome"] == "Succeeded"
    assert last["resumedFromStep"] >= 5
    if case.is_warned:
        assert first["lostSteps"] == 0
        assert first["savedStep"] == last["resumedFromStep"]


def has_checkpoint(job: dict[str, Any]) -> bool:
    status = job["status"]
    return status.get("progress", {}).get("stage") == "training" and "checkpoint" in status
