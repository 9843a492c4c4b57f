"""A job of two nodes on a real API server with the real Job controller; the test plays kubelets and trainers."""

from collections import Counter
from typing import Any

import cluster_objects as o
import pytest
from api_server import AUDIT_LOG
from audit import writes
from kubectl import Kubectl
from operator_process import OperatorProcess
from played_job import end, live_pod, settled, start, submit, suspend, until_phase

pytestmark = pytest.mark.cluster

TWO_NODES = {"nodes": 2, "gpus": {"count": 4}}
LOST = o.failed_report("train", "Infrastructure", "RankLost", "rank 1 is gone", retryable=True)


def start_both(team: Kubectl) -> Any:
    for index in range(2):
        start(team, "train", index=index)
    return until_phase(team, "Running")


def vanish(team: Kubectl, pod: Any) -> None:
    """No kubelet takes a pod away that was asked to stop, so the test does."""
    team.run("delete", "pod", pod["metadata"]["name"], "--grace-period=0", "--force", "--ignore-not-found")


def test_a_lost_pod_of_two_leads_to_one_new_job_and_no_pod_beside_one_of_its_index(
    team: Kubectl, operator: OperatorProcess
) -> None:
    submit(team, resources=TWO_NODES, limits={"retries": 1})
    end(team, "preflight", 0, o.passed())
    running = start_both(team)
    assert "4 nvidia.com/gpu of each of 2 pods" in running["message"]
    assert len(running["attempts"]) == 1
    first = team.get("job", "tune-train")
    pods = [live_pod(team, "train", index=index) for index in range(2)]
    assert [pod["spec"]["hostname"] for pod in pods] == ["tune-train-0", "tune-train-1"]
    assert {pod["spec"]["subdomain"] for pod in pods} == {"tune-train"}
    end(team, "train", 137, "", index=1)
    # The first pod has not ended yet: the Job is not over, and no other may begin.
    team.wait("the other is asked to stop", lambda: "deletionTimestamp" in live_pod(team, "train")["metadata"])
    settled(team)
    assert (team.get("job", "tune-train") or {})["metadata"]["uid"] == first["metadata"]["uid"]  # type: ignore[index]
    assert live_pod(team, "train", index=1) is None
    end(team, "train", 20, LOST)
    vanish(team, pods[0])
    again = start_both(team)
    second = team.get("job", "tune-train")
    assert second["metadata"]["uid"] != first["metadata"]["uid"]  # type: ignore[index]
    assert again["restarts"]["counted"] == 1
    assert [attempt["outcome"] for attempt in again["attempts"]] == ["Failed", "Running"]
    assert again["attempts"][0]["pod"] == pods[1]["metadata"]["name"]
    end(team, "train", 0, o.trained())
    end(team, "train", 0, "", index=1)
    done = until_phase(team, "Complete")
    assert [attempt["outcome"] for attempt in done["attempts"]] == ["Failed", "Succeeded"]
    assert done["gpuSeconds"] == 2 * 2 * 4 * 600


def test_the_service_of_a_job_of_two_is_made_once_within_the_budget_of_writes(
    team: Kubectl, operator: OperatorProcess
) -> None:
    submit(team, resources=TWO_NODES)
    end(team, "preflight", 0, o.passed())
    start_both(team)
    end(team, "train", 0, o.trained())
    end(team, "train", 0, "", index=1)
    until_phase(team, "Complete")
    (service,) = team.items("services", "-l", "finetune.dev/job=tune")
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["publishNotReadyAddresses"] is True
    assert service["metadata"]["ownerReferences"][0]["kind"] == "FinetuneJob"
    settled(team)
    assert team.kubeconfig is not None
    seen = writes(team.kubeconfig.parent / AUDIT_LOG, str(team.namespace))
    written = Counter((write.verb, write.resource) for write in seen)
    assert written["create", "jobs"] == 2
    assert written["create", "services"] == 1
    assert written["patch", "finetunejobs/status"] <= 6
    assert written["create", "events"] <= 8


def test_a_job_of_two_that_is_suspended_keeps_its_job(team: Kubectl, operator: OperatorProcess) -> None:
    submit(team, resources=TWO_NODES)
    end(team, "preflight", 0, o.passed())
    start_both(team)
    first = team.get("job", "tune-train")
    pods = [live_pod(team, "train", index=index) for index in range(2)]
    suspend(team, True)
    team.wait(
        "both are asked to stop",
        lambda: all("deletionTimestamp" in live_pod(team, "train", index=i)["metadata"] for i in range(2)),
    )
    for index in range(2):
        end(team, "train", 75, "", index=index)
        vanish(team, pods[index])
    assert until_phase(team, "Suspended")["attempts"][0]["outcome"] == "Preempted"
    suspend(team, False)
    resumed = start_both(team)
    assert "restarts" not in resumed
    assert (team.get("job", "tune-train") or {})["metadata"]["uid"] == first["metadata"]["uid"]  # type: ignore[index]
    assert [attempt["outcome"] for attempt in resumed["attempts"]] == ["Preempted", "Running"]


def test_a_foreign_service_is_a_collision_and_is_not_touched(team: Kubectl, operator: OperatorProcess) -> None:
    metadata = {"name": "tune-train", "namespace": team.namespace}
    team.apply({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"ports": [{"port": 80}]}})
    submit(team, resources=TWO_NODES)
    end(team, "preflight", 0, o.passed())
    failed = until_phase(team, "Failed")
    assert failed["failure"]["reason"] == "NameCollision"
    assert "A Service named tune-train exists" in failed["failure"]["message"]
