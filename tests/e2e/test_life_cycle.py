"""What happens to a running or finished job when the operator, its pods or the user interfere."""

import time
from collections.abc import Callable
from typing import Any

import pytest
from examples.demo.job import OPERATOR_NAMESPACE
from team import Team, jsonl, rows

pytestmark = pytest.mark.cluster


def kill_operator(team: Team) -> None:
    """Delete the operator's pod without grace; its Deployment starts another."""
    system = team.kubectl.inside(OPERATOR_NAMESPACE)
    system.run("delete", "pod", "-l", "app.kubernetes.io/name=finetune-operator", "--grace-period=0", "--force")


def comparable(status: dict[str, Any]) -> dict[str, Any]:
    """What must not depend on who watched the job: result and end, no times and no pod names."""
    kept = {key: status[key] for key in ("phase", "specDigest", "data", "evaluation")}
    kept["conditions"] = {c["type"]: (c["status"], c["reason"]) for c in status["conditions"]}
    kept["outcomes"] = [attempt["outcome"] for attempt in status["attempts"]]
    return kept


def has_job(team: Team, name: str, kind: str) -> Callable[[], bool]:
    return lambda: any(child["metadata"]["name"] == f"{name}-{kind}" for child in team.jobs(name))


def is_training(job: dict[str, Any]) -> bool:
    return job["status"].get("progress", {}).get("stage") in ("baseline", "rehearsing", "training", "evaluating")


@pytest.mark.slow(name="three kills", minutes=3)
def test_the_operator_killed_at_three_points_leaves_one_job_one_adapter_and_the_same_status(team: Team) -> None:
    # Long enough that the third kill falls into training, however long the operator takes to come back.
    longer = {
        "training": {"tokensPerStep": 64, "learningRate": 0.01, "epochs": 60},
        "checkpoint": {"everySteps": 100},
    }
    team.submit(team.job("undisturbed", **longer))
    undisturbed = team.completed("undisturbed")
    team.submit(team.job("disturbed", **longer))
    team.kubectl.wait("preflight Job", has_job(team, "disturbed", "preflight"), interval=0.1)
    kill_operator(team)
    team.kubectl.wait("training Job", has_job(team, "disturbed", "train"), interval=0.1)
    uid = team.kubectl.get("job", "disturbed-train")["metadata"]["uid"]  # type: ignore[index]
    kill_operator(team)
    team.until("disturbed", "training", is_training, timeout=120)
    kill_operator(team)
    disturbed = team.completed("disturbed")
    assert team.kubectl.get("job", "disturbed-train")["metadata"]["uid"] == uid  # type: ignore[index]
    assert len(team.jobs("disturbed")) == 2
    expected, seen = comparable(undisturbed), comparable(disturbed)
    for part in ("specDigest", "data"):
        # The two jobs have inputs and outputs of their own.
        expected.pop(part)
        seen.pop(part)
    assert seen == expected
    assert len([uri for uri in team.objects("disturbed") if uri.endswith("adapter_model.safetensors")]) == 1


def test_the_status_of_a_finished_job_tells_the_whole_result(finished: Team) -> None:
    status = finished.get("finished")["status"]
    assert status["artifact"]["verified"] is True
    assert {metric["name"] for metric in status["evaluation"]["metrics"]} >= {"exact_match", "token_f1", "loss"}
    assert status["data"]["trainRows"] == 24
    assert [attempt["outcome"] for attempt in status["attempts"]] == ["Succeeded"]
    assert finished.condition("finished", "Complete")["reason"] == "AdapterReady"
    assert finished.condition("finished", "Reconciling")["status"] == "False"
    assert any(uri.endswith("/manifest.json") for uri in finished.objects("finished"))


def test_a_finished_jobs_life_was_told_in_few_events(finished: Team) -> None:
    about = "involvedObject.kind=FinetuneJob,involvedObject.name=finished"
    told = finished.kubectl.items("events", "--field-selector", about)
    assert {"PreflightPassed", "TrainerRunning", "AdapterReady"} <= {event["reason"] for event in told}
    assert len(told) <= 8


def test_deleting_a_finished_jobs_children_trains_nothing_again(finished: Team) -> None:
    before = finished.get("finished")
    finished.kubectl.run("delete", "jobs,pods", "-l", "finetune.dev/job=finished", "--wait=true")
    kill_operator(finished)
    finished.kubectl.run("-n", OPERATOR_NAMESPACE, "rollout", "status", "deployment/finetune-operator")
    time.sleep(10)
    assert finished.jobs("finished") == []
    assert finished.get("finished")["status"] == before["status"]


def test_the_same_job_applied_anew_adopts_the_finished_output(finished: Team) -> None:
    before = finished.get("finished")
    objects = set(finished.objects("finished"))
    finished.kubectl.run("delete", "ftj", "finished", "--wait=true")
    finished.kubectl.wait("children are gone", lambda: not finished.jobs("finished"))
    fresh = {key: before[key] for key in ("apiVersion", "kind", "spec")} | {
        "metadata": {"name": "finished", "namespace": finished.kubectl.namespace}
    }
    finished.submit(fresh)
    status = finished.completed("finished")
    assert status["artifact"] == before["status"]["artifact"]
    assert status["evaluation"] == before["status"]["evaluation"]
    assert finished.condition("finished", "Complete")["reason"] == "OutputAdopted"
    assert [child["metadata"]["name"] for child in finished.jobs("finished")] == ["finished-preflight"]
    assert {uri for uri in finished.objects("finished") if "/runs/" in uri} == {u for u in objects if "/runs/" in u}


def test_one_byte_changed_after_validation_is_refused_and_the_digests_named(team: Team) -> None:
    manifest = team.job("changed", scheduling={"nodeSelector": {"finetune.dev/e2e-gate": team.run}})
    team.submit(manifest)
    team.kubectl.wait("training Job", has_job(team, "changed", "train"))
    validated = team.get("changed")["status"]["data"]["digest"]
    content = jsonl(rows(24))
    team.put("changed/train.jsonl", content.replace(b"Say 7.", b"Say 8.", 1))
    team.kubectl.run("label", "node", "--all", "--overwrite", f"finetune.dev/e2e-gate={team.run}")
    failure = team.failed("changed")
    assert failure["reason"] == "DatasetChanged"
    assert validated in failure["message"]
    assert not [uri for uri in team.objects("changed") if "adapter" in uri]


@pytest.mark.slow(name="suspend", minutes=2)
def test_a_suspended_job_frees_its_pod_and_goes_on_from_its_checkpoint(team: Team) -> None:
    training = {"tokensPerStep": 64, "learningRate": 0.01, "epochs": 80}
    team.submit(team.job("pausing", training=training, checkpoint={"everySteps": 5}))
    team.until("pausing", "training", lambda job: job["status"].get("progress", {}).get("step", 0) > 5)
    suspend(team, "pausing", "true")
    team.until("pausing", "Suspended", lambda job: job["status"]["phase"] == "Suspended")
    active = [pod for pod in team.kubectl.items("pods", "-l", "finetune.dev/job=pausing") if running(pod)]
    assert active == []
    assert team.condition("pausing", "Suspended")["status"] == "True"
    saved = team.get("pausing")["status"]["checkpoint"]["step"]
    suspend(team, "pausing", "false")
    team.until("pausing", "beyond the checkpoint", lambda job: job["status"].get("progress", {}).get("step", 0) > saved)
    steps = [a["outcome"] for a in team.get("pausing")["status"]["attempts"]]
    assert steps[0] == "Preempted"
    team.completed("pausing")


def suspend(team: Team, name: str, value: str) -> None:
    team.kubectl.run("patch", "ftj", name, "--type=merge", "-p", f'{{"spec":{{"suspend":{value}}}}}')


def running(pod: dict[str, Any]) -> bool:
    return bool(pod["status"].get("phase") == "Running")


def test_deleting_a_job_removes_its_children_without_the_operator(team: Team) -> None:
    team.submit(team.job("deleted"))
    team.kubectl.wait("preflight Job", has_job(team, "deleted", "preflight"), interval=0.2)
    system = team.kubectl.inside(OPERATOR_NAMESPACE)
    system.run("scale", "deployment/finetune-operator", "--replicas=0")
    try:
        team.kubectl.run("delete", "ftj", "deleted", "--wait=true", timeout=60)
        team.kubectl.wait("children are gone", lambda: not team.jobs("deleted"), timeout=60)
    finally:
        system.run("scale", "deployment/finetune-operator", "--replicas=1")
        system.run("rollout", "status", "deployment/finetune-operator", "--timeout=120s")
