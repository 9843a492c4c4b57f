"""Where a training pod goes and what it gets, by the real scheduler and kubelet."""

from typing import Any

import pytest
from team import Team

pytestmark = [pytest.mark.cluster, pytest.mark.slow(name="placement", minutes=2.5)]

RESOURCES = {"gpus": {"count": 0}, "cpu": "900m", "memory": "2Gi", "sharedMemory": "256Mi", "scratch": "1Gi"}
SCHEDULING = {
    "nodeAffinity": [{"key": "kubernetes.io/hostname", "operator": "Exists"}],
    # The scheduler lets a job's first pod pass an affinity to the job itself.
    "topology": {"key": "kubernetes.io/hostname", "required": True},
}


def training_pods(team: Team, name: str) -> list[dict[str, Any]]:
    return team.kubectl.items("pods", "-l", f"finetune.dev/job={name},finetune.dev/kind=train")


def test_a_job_that_says_all_about_its_place_runs_there(team: Team) -> None:
    job = team.job("placed", resources=RESOURCES, scheduling=SCHEDULING)
    job["metadata"]["labels"] = {"cost-centre": "4711"}
    team.submit(job)
    team.completed("placed")
    (pod,) = training_pods(team, "placed")
    assert pod["metadata"]["labels"]["cost-centre"] == "4711"
    resources = pod["spec"]["containers"][0]["resources"]
    assert resources["requests"] == resources["limits"]
    assert resources["limits"]["ephemeral-storage"] == "1Gi"
    assert pod["status"]["qosClass"] == "Guaranteed"


def test_an_affinity_that_no_node_meets_is_told(team: Team) -> None:
    nowhere = {"nodeAffinity": [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["nowhere"]}]}
    team.submit(team.job("nowhere", scheduling=nowhere))
    told = team.until("nowhere", "unschedulable", unschedulable, timeout=120)
    assert "affinity" in told
    team.kubectl.run("delete", "ftj", "nowhere", "--wait=true")


def test_scratch_is_an_amount_that_the_scheduler_counts(team: Team) -> None:
    resources = {**RESOURCES, "scratch": "900Ti"}
    team.submit(team.job("roomy", resources=resources))
    told = team.until("roomy", "unschedulable", unschedulable, timeout=120)
    assert "Insufficient ephemeral-storage" in told
    team.kubectl.run("delete", "ftj", "roomy", "--wait=true")


def unschedulable(job: dict[str, Any]) -> str:
    """Why no node takes the training pod; empty as long as that is not told."""
    moving = [c for c in job["status"].get("conditions", []) if c["type"] == "Reconciling"]
    return moving[0]["message"] if moving and moving[0]["reason"] == "Unschedulable" else ""
