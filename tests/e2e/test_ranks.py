"""A job of two nodes on the local cluster: it trains together, and one lost rank leads to one start of both."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from team import Team

pytestmark = pytest.mark.cluster

STALL_MINUTES = 1.5
"""More than importing the libraries takes with less than a core."""
PAIR: dict[str, Any] = {
    "training": {
        "tokensPerStep": 64,
        "learningRate": 0.01,
        "epochs": 50,
        "guards": {"stallMinutes": STALL_MINUTES},
    },
    "checkpoint": {"everySteps": 5},
    "resources": {"nodes": 2, "gpus": {"count": 0}, "cpu": "600m", "memory": "1500Mi", "scratch": "1Gi"},
    "limits": {"retries": 2, "gracePeriodSeconds": 60},
}
SIGNAL = "import os, signal; os.kill(int(open('/proc/1/task/1/children').read().split()[0]), signal.{})"
"""Signals the rank of a pod, behind its first process's back."""


@dataclass
class Witness:
    """What was seen of a job's pods and Jobs while it was waited for."""

    team: Team
    name: str
    jobs: set[str] = field(default_factory=set)
    overlaps: list[str] = field(default_factory=list)

    def look(self, reached: Callable[[dict[str, Any]], Any]) -> Callable[[dict[str, Any]], Any]:
        """A condition that notes what there is whenever it is asked."""

        def noting(job: dict[str, Any]) -> Any:
            self._note()
            return reached(job)

        return noting

    def _note(self) -> None:
        selector = f"finetune.dev/job={self.name},finetune.dev/kind=train"
        self.jobs |= {job["metadata"]["uid"] for job in self.team.kubectl.items("jobs", "-l", selector)}
        at_work: dict[str, str] = {}
        for pod in self.team.kubectl.items("pods", "-l", selector):
            rank, uid = pod["metadata"]["labels"]["batch.kubernetes.io/job-completion-index"], pod["metadata"]["uid"]
            if pod["status"]["phase"] in ("Succeeded", "Failed"):
                continue
            if rank in at_work:
                self.overlaps.append(f"{at_work[rank]} and {uid} are both rank {rank}")
            at_work[rank] = uid


def is_final(job: dict[str, Any]) -> bool:
    return job["status"].get("phase") in ("Complete", "Failed")


def is_saved(job: dict[str, Any]) -> bool:
    status = job["status"]
    return status.get("progress", {}).get("stage") == "training" and "checkpoint" in status


def pod(team: Team, name: str, rank: int) -> str:
    selector = f"finetune.dev/job={name},finetune.dev/kind=train,batch.kubernetes.io/job-completion-index={rank}"
    (running,) = [
        found for found in team.kubectl.items("pods", "-l", selector) if found["status"]["phase"] == "Running"
    ]
    return str(running["metadata"]["name"])


def evict(team: Team, name: str) -> None:
    body = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": pod(team, name, 1), "namespace": team.kubectl.namespace},
    }
    path = f"/api/v1/namespaces/{team.kubectl.namespace}/pods/{pod(team, name, 1)}/eviction"
    team.kubectl.run("create", "--raw", path, "-f", "-", stdin=json.dumps(body))


def send(number: str) -> Callable[[Team, str], None]:
    def happens(team: Team, name: str) -> None:
        team.kubectl.run("exec", pod(team, name, 1), "--", "python3", "-c", SIGNAL.format(number))

    return happens


@dataclass(frozen=True)
class Loss:
    """One way to lose a rank."""

    name: str
    happens: Callable[[Team, str], None]
    outcome: str
    reasons: tuple[str, ...]
    """By what is left of the pods: those that ran when the Job failed vanish as soon as they have ended."""
    counted: int


LOSSES = [
    Loss("kill", send("SIGKILL"), "Failed", ("Internal", "RankLost"), 1),
    Loss("stop", send("SIGSTOP"), "Failed", ("Hung", "RankLost"), 1),
    Loss("eviction", evict, "Preempted", ("Disrupted", "Preempted"), 0),
]


@pytest.mark.slow(name="two nodes", minutes=3)
def test_two_nodes_train_one_model(team: Team) -> None:
    team.submit(team.job("pair", **{**PAIR, "training": {**PAIR["training"], "epochs": 4}}))
    status = team.completed("pair", timeout=600)
    assert status["artifact"]["verified"] is True
    (attempt,) = status["attempts"]
    assert attempt["outcome"] == "Succeeded"
    assert "restarts" not in status
    (service,) = team.kubectl.items("services", "-l", "finetune.dev/job=pair")
    assert service["spec"]["clusterIP"] == "None"


@pytest.mark.parametrize(
    "loss",
    [
        pytest.param(loss, id=loss.name, marks=pytest.mark.slow(name=f"rank lost by {loss.name}", minutes=6))
        for loss in LOSSES
    ],
)
def test_a_lost_rank_leads_to_one_start_of_both_that_goes_on(team: Team, loss: Loss) -> None:
    name = f"pair-{loss.name}"
    witness = Witness(team, name)
    team.submit(team.job(name, **PAIR))
    team.until(name, "a checkpoint in training", witness.look(is_saved), timeout=400)
    loss.happens(team, name)
    status = dict(
        team.until(name, "Complete or Failed", witness.look(is_final), timeout=900) and team.get(name)["status"]
    )
    assert status["phase"] == "Complete", status.get("failure")
    assert witness.overlaps == []
    assert len(witness.jobs) == 2
    first, second = status["attempts"]
    assert first["outcome"] == loss.outcome
    assert first["reason"] in loss.reasons
    assert second["outcome"] == "Succeeded"
    assert second["resumedFromStep"] >= 5
    assert status["restarts"]["counted"] == loss.counted
    told = team.kubectl.items("events", "--field-selector", f"involvedObject.name={name}")
    restarts = [event["message"] for event in told if event["reason"] == "Retrying"]
    assert len(restarts) == 1
    assert restarts[0].startswith("Starting all 2 pods again")
