"""Nodes on which attempts fail again and again are avoided: by policy, and by a real scheduler."""

import json
from pathlib import Path
from typing import Any

import cluster_objects as o
import pytest
from api_server import scheduler
from kubectl import Kubectl
from operator_process import OperatorProcess
from played_job import end, live_pod, status, submit, until_phase
from scenarios import TRAIN, VALIDATED, Known, Scenario, check, decide_again, decision, storage_down

from finetune_api.conditions import Reason
from finetune_operator.actions import CreateJob
from finetune_operator.manifests.avoid import avoiding

AVOIDING: o.Raw = {**VALIDATED, "avoidedNodes": ["node-1"], "failedAttempts": 2}
FAULT = o.failed_report("train", "Infrastructure", Reason.GPU_FAULT, "uncorrectable ECC error", retryable=True)


def failed(name: str, *, node: str = "node-1", words: str = FAULT) -> o.Raw:
    pod = o.ended("train", 20, words, name=name)
    return {**pod, "spec": {"nodeName": node}}


def unscheduled() -> o.Raw:
    return {**o.pod("train"), "spec": {}}


def avoids(*nodes: str) -> o.Raw:
    return o.child_job("train", status={"failed": 2}, annotations={"finetune.dev/avoided-nodes": ",".join(nodes)})


SCENARIOS = {
    "a Job that could start there again is replaced": Scenario(
        status=AVOIDING,
        jobs=(o.child_job("train", status={"failed": 2}),),
        pods=(failed("a"), failed("b")),
        phase="Starting",
        reason="NodeAvoided",
        actions=("delete train",),
        says="Attempts failed 2 times on node node-1; the next one starts elsewhere",
    ),
    "so is one whose pod has no node yet": Scenario(
        status=AVOIDING,
        jobs=(TRAIN,),
        pods=(unscheduled(),),
        phase="Starting",
        reason="NodeAvoided",
        actions=("delete train",),
    ),
    "a pod at work is not disturbed": Scenario(
        status=AVOIDING,
        jobs=(TRAIN,),
        pods=(o.running("train"),),
        phase="Running",
        reason="TrainerRunning",
    ),
    "a Job that leaves the node out already stays": Scenario(
        status=AVOIDING,
        jobs=(avoids("node-1"),),
        pods=(o.ended("train", 75, name="a"),),
        phase="Starting",
        reason="TrainerStarting",
    ),
}


@pytest.mark.parametrize("case", SCENARIOS.values(), ids=SCENARIOS)
def test_scenario(case: Scenario) -> None:
    check(case)


# pods that failed, nodes to avoid
HISTORIES = {
    "twice on one node": ((failed("a"), failed("b")), ["node-1"]),
    "once on each of two": ((failed("a"), failed("b", node="node-2")), []),
    "faults that are not the node's": (tuple(failed(name, words=storage_down("train")) for name in "abc"), []),
    "a crash without a report": ((failed("a", words=""), failed("b", words="")), ["node-1"]),
}


@pytest.mark.parametrize(("pods", "expected"), HISTORIES.values(), ids=HISTORIES)
def test_history(pods: tuple[o.Raw, ...], expected: list[str]) -> None:
    known = Known(status=VALIDATED, jobs=(o.child_job("train", status={"failed": len(pods)}),), pods=pods)
    first = decision(known)
    assert first.status.avoided_nodes == expected
    assert first.status.failed_attempts == len(pods)
    assert decide_again(known, first).status.failed_attempts == len(pods)


def test_the_next_job_leaves_the_node_out_and_has_the_retries_that_are_left() -> None:
    (create,) = decision(Known(status=AVOIDING)).actions
    assert isinstance(create, CreateJob)
    assert create.manifest["metadata"]["annotations"] == {"finetune.dev/avoided-nodes": "node-1"}
    assert create.manifest["spec"]["backoffLimit"] == 1
    assert terms(create.manifest["spec"]["template"]["spec"]) == [
        {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "NotIn", "values": ["node-1"]}]}
    ]


def test_every_alternative_of_an_affinity_leaves_the_nodes_out() -> None:
    zones = [{"matchExpressions": [{"key": "zone", "operator": "In", "values": [zone]}]} for zone in "ab"]
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": zones}}
    made = terms(avoiding({"affinity": {"nodeAffinity": required}}, ["bad"]))
    keys = [[each["key"] for each in term["matchExpressions"]] for term in made]
    assert keys == [["zone", "kubernetes.io/hostname"]] * 2


def terms(pod: o.Raw) -> Any:
    required = pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    return required["nodeSelectorTerms"]


@pytest.mark.cluster
def test_a_real_scheduler_finds_another_node(
    server: Kubectl, team: Kubectl, operator: OperatorProcess, tmp_path: Path
) -> None:
    bad, good = (f"{team.namespace}-{name}" for name in ("bad", "good"))
    make_node(server, bad, pool=str(team.namespace))
    make_node(server, good, pool=str(team.namespace))
    server.run("cordon", good)
    submit(team, scheduling={"nodeSelector": {"pool": team.namespace}})
    end(team, "preflight", 0, o.passed())
    with scheduler(server, tmp_path):
        for _ in range(2):
            placed_on(team, bad)
            end(team, "train", 20, FAULT)
        told = team.wait(
            "a wait for another node", lambda: told_of(team, "didn't match Pod's node affinity"), timeout=60
        )
        assert told["avoidedNodes"] == [bad]
        server.run("uncordon", good)
        placed_on(team, good)
        end(team, "train", 0, o.trained())
        done = until_phase(team, "Complete")
    assert [attempt["node"] for attempt in done["attempts"]] == [bad, bad, good]
    events = team.items("events", "--field-selector", f"involvedObject.name={o.NAME},reason=NodeAvoided")
    assert len(events) == 1


def make_node(server: Kubectl, name: str, *, pool: str) -> None:
    """A node that only the scheduler believes in."""
    labels = {"kubernetes.io/hostname": name, "pool": pool}
    server.apply({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}})
    room = {"cpu": "64", "memory": "512Gi", "ephemeral-storage": "1Ti", "pods": "100", "nvidia.com/gpu": "8"}
    status = {"capacity": room, "allocatable": room, "conditions": [{"type": "Ready", "status": "True"}]}
    server.run("patch", "node", name, "--subresource=status", "--type=merge", "-p", json.dumps({"status": status}))
    # Admission takes every new node for one that is not ready; a controller that is not here would find out.
    server.run("patch", "node", name, "--type=merge", "-p", '{"spec": {"taints": null}}')


def placed_on(team: Kubectl, node: str) -> None:
    def is_placed() -> bool:
        pod = live_pod(team, "train")
        return pod is not None and pod["spec"].get("nodeName") == node

    team.wait(f"pod on {node}", is_placed, timeout=60, interval=0.2, explain="jobs,pods")


def told_of(team: Kubectl, words: str) -> Any:
    found = status(team)
    return found if words in found.get("message", "") else None
