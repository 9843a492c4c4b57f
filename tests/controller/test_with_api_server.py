"""The operator's process on a real API server with the real Job controller; the test plays kubelet and trainer."""

import json
import time
from collections import Counter
from pathlib import Path

import cluster_objects as o
import pytest
from api_server import AUDIT_LOG
from audit import writes
from kubectl import Kubectl, difference
from operator_process import OperatorProcess
from played_job import (
    children,
    end,
    live_pod,
    play,
    reasons,
    run_to_completion,
    settled,
    start,
    status,
    submit,
    suspend,
    until_phase,
)

from finetune_api import API_VERSION, KIND
from finetune_api.names import MANAGER, SUSPENDED_BY
from finetune_api.request import ENVIRONMENT_VARIABLE, TrainerRequest

pytestmark = pytest.mark.cluster


def test_a_job_goes_from_data_to_adapter(team: Kubectl, operator: OperatorProcess) -> None:
    submit(team)
    done = run_to_completion(team)
    assert reasons(done) == {
        "Validated": ("True", "PreflightPassed"),
        "Running": ("False", "Finished"),
        "Complete": ("True", "AdapterReady"),
        "Reconciling": ("False", "AdapterReady"),
    }
    assert done["evaluation"]["summary"] == "exact_match 0.05 -> 0.82"
    assert [(attempt["outcome"], attempt["gpuSeconds"]) for attempt in done["attempts"]] == [("Succeeded", 600)]
    _, metrics = operator.get("/metrics")
    assert f'finetune_gpu_seconds_total{{namespace="{team.namespace}",outcome="Succeeded"}} 600.0' in metrics


# Of one job on one node, without progress (docs/architecture.md).
BUDGET = {"objects": 3, "status patches": 6, "events": 8}


def test_what_is_written_in_a_jobs_whole_life_stays_within_the_budget(team: Kubectl, operator: OperatorProcess) -> None:
    submit(team)
    for kind, words in (("preflight", o.passed()), ("train", o.trained())):
        play(team, kind, {"waiting": {"reason": "ContainerCreating"}}, "Pending")
        start(team, kind)
        # Longer than a pass, so that what could be told on the way is.
        settled(team)
        end(team, kind, 0, words)
    until_phase(team, "Complete")
    team.wait("both Jobs are done", lambda: all(job["status"].get("succeeded") for job in children(team)), timeout=30)
    settled(team)
    written = written_by_the_operator(team)
    assert written.pop(("create", "jobs")) == 2 <= BUDGET["objects"]
    assert written.pop(("patch", "finetunejobs/status")) <= BUDGET["status patches"]
    assert written.pop(("create", "events")) <= BUDGET["events"]
    assert not written, "nothing else is written"


def written_by_the_operator(team: Kubectl) -> Counter[tuple[str, str]]:
    """By verb and resource, as the API server saw it; none of it was refused."""
    assert team.kubeconfig is not None
    seen = writes(team.kubeconfig.parent / AUDIT_LOG, str(team.namespace))
    assert all(write.code < 300 for write in seen), seen
    return Counter((write.verb, write.resource) for write in seen)


def test_the_operators_bookkeeping_stays_off_users_objects(team: Kubectl, operator: OperatorProcess) -> None:
    submit(team)
    until_phase(team, "Validating")
    metadata = (team.get("ftj", o.NAME) or {})["metadata"]
    assert "finalizers" not in metadata
    assert set(metadata["annotations"]) == {"kubectl.kubernetes.io/last-applied-configuration"}


def test_a_whole_life_leaves_nothing_that_a_gitops_tool_would_change(team: Kubectl, operator: OperatorProcess) -> None:
    metadata = {"name": o.NAME, "namespace": team.namespace, "labels": {"app.kubernetes.io/instance": "fine-tunes"}}
    # The deletion of the output asks for the one thing that the operator ever writes beside status: a finalizer.
    spec = {**o.SPEC, "output": {**o.SPEC["output"], "onDelete": "delete"}}
    manifest = json.dumps({"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata, "spec": spec})
    team.run("apply", "--server-side", "--field-manager=argocd-controller", "-f", "-", stdin=manifest)
    end(team, "preflight", 0, o.passed())
    start(team, "train")
    until_phase(team, "Running")
    assert difference(team, manifest) == ""
    end(team, "train", 0, o.trained())
    until_phase(team, "Complete")
    assert (team.get("ftj", o.NAME) or {})["metadata"]["finalizers"]
    assert difference(team, manifest) == ""
    assert difference(team, manifest.replace("fine-tunes", "changed"))


def test_an_operator_killed_before_it_wrote_status_leaves_one_job_and_the_same_status(
    team: Kubectl, operator: OperatorProcess
) -> None:
    submit(team, "undisturbed")
    expected = run_to_completion(team, "undisturbed")
    operator.kill()
    submit(team)
    operator.start(wait=False)
    team.wait("preflight Job", lambda: children(team), timeout=30, interval=0.02)
    operator.kill()
    (first,) = children(team)
    operator.start()
    end(team, "preflight", 0, o.passed())
    team.wait("training Job", lambda: len(children(team)) == 2, timeout=30, interval=0.02)
    operator.kill()
    operator.start()
    start(team, "train")
    operator.kill()
    end(team, "train", 0, o.trained())
    operator.start()
    seen = until_phase(team, "Complete")
    assert [job["metadata"]["name"] for job in children(team)] == ["tune-preflight", "tune-train"]
    assert children(team)[0]["metadata"]["uid"] == first["metadata"]["uid"]
    assert reasons(seen) == reasons(expected)
    for part in ("data", "evaluation", "artifact", "progress", "specDigest", "message", "gpuSeconds"):
        assert seen.get(part) == expected.get(part)


def test_nothing_is_created_again_once_a_finished_jobs_children_are_gone(
    team: Kubectl, operator: OperatorProcess
) -> None:
    submit(team)
    done = run_to_completion(team)
    team.run("delete", "jobs,pods", "-l", f"finetune.dev/job={o.NAME}", "--wait=true")
    operator.kill()
    operator.start()
    settled(team)
    assert children(team) == []
    assert status(team) == done


def test_a_lost_report_is_asked_for_again(team: Kubectl, operator: OperatorProcess) -> None:
    submit(team)
    end(team, "preflight", 0, o.passed())
    start(team, "train")
    until_phase(team, "Running")
    operator.kill()
    pod = end(team, "train", 0, o.trained())
    team.wait("Job is complete", lambda: children(team)[1]["status"].get("succeeded"), timeout=30)
    team.run("delete", "pod", pod["metadata"]["name"], "--wait=true", "--grace-period=0", "--force")
    operator.start()
    end(team, "train", 0, o.trained())
    done = until_phase(team, "Complete")
    assert done["lostReports"] == 1
    assert done["artifact"]["verified"] is True


def test_a_foreign_job_is_a_collision_and_is_not_touched(team: Kubectl, operator: OperatorProcess) -> None:
    container = {"name": "theirs", "image": "theirs.test/image"}
    foreign = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "tune-preflight", "namespace": team.namespace, "labels": {"team": "theirs"}},
        "spec": {"suspend": True, "template": {"spec": {"restartPolicy": "Never", "containers": [container]}}},
    }
    team.apply(foreign)
    before = team.get("job", "tune-preflight")
    submit(team)
    failed = until_phase(team, "Failed")
    assert failed["failure"]["reason"] == "NameCollision"
    assert "tune-preflight" in failed["failure"]["message"]
    settled(team)
    after = team.get("job", "tune-preflight")
    assert before is not None
    assert after is not None
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert after["spec"] == before["spec"]


def test_the_job_of_an_earlier_namesake_is_waited_for(team: Kubectl, operator: OperatorProcess) -> None:
    submit(team)
    until_phase(team, "Validating")
    (first,) = children(team)
    team.run("delete", "ftj", o.NAME, "--wait=true")
    submit(team)
    until_phase(team, "Validating")
    replaced = team.wait(
        "a Job of its own",
        lambda: [job for job in children(team) if job["metadata"]["uid"] != first["metadata"]["uid"]],
        timeout=30,
    )
    assert len(replaced) == 1


def test_bad_data_is_final_and_trains_nothing(team: Kubectl, operator: OperatorProcess) -> None:
    submit(team)
    end(team, "preflight", 11, o.failed_report("preflight", "Data", "DatasetInvalid", "train.jsonl:7: not JSON"))
    failed = until_phase(team, "Failed")
    assert failed["failure"]["class"] == "Data"
    assert "train.jsonl:7" in failed["message"]
    settled(team)
    assert [job["metadata"]["name"] for job in children(team)] == ["tune-preflight"]


def test_infrastructure_failures_are_retried_inside_one_job(team: Kubectl, operator: OperatorProcess) -> None:
    submit(team, limits={"retries": 1})
    end(team, "preflight", 0, o.passed())
    words = o.failed_report("train", "Infrastructure", "StorageUnavailable", "S3 says 503", retryable=True)
    first = end(team, "train", 20, words)
    # The Job controller waits ten seconds before the second pod.
    start(team, "train")
    running = until_phase(team, "Running")
    assert "attempt 2 of 2 after StorageUnavailable" in running["message"]
    assert first["metadata"]["name"] == running["attempts"][0]["pod"]
    end(team, "train", 20, words)
    failed = until_phase(team, "Failed")
    assert reasons(failed)["Failed"] == ("True", "BackoffLimitExceeded")
    assert failed["failure"]["reason"] == "StorageUnavailable"
    assert len(failed["attempts"]) == 2


def test_suspending_takes_the_pod_away_and_resuming_brings_another(team: Kubectl, operator: OperatorProcess) -> None:
    submit(team)
    end(team, "preflight", 0, o.passed())
    pod = start(team, "train")
    until_phase(team, "Running")
    suspend(team, True)
    # No kubelet ends the pod, so the test does, as the trainer would: state saved, exit code 75.
    team.wait("pod is asked to stop", lambda: "deletionTimestamp" in live_pod(team, "train")["metadata"], timeout=30)
    assert status(team)["phase"] == "Running"
    end(team, "train", 75, "")
    team.run("delete", "pod", pod["metadata"]["name"], "--grace-period=0", "--force", "--ignore-not-found")
    suspended = until_phase(team, "Suspended")
    assert [attempt["outcome"] for attempt in suspended["attempts"]] == ["Preempted"]
    assert live_pod(team, "train") is None
    suspend(team, False)
    start(team, "train")
    until_phase(team, "Running")
    end(team, "train", 0, o.trained())
    done = until_phase(team, "Complete")
    assert [attempt["outcome"] for attempt in done["attempts"]] == ["Preempted", "Succeeded"]
    assert reasons(done)["Suspended"] == ("False", "Resumed")


def test_a_job_suspended_from_the_start_creates_nothing_until_resumed(team: Kubectl, operator: OperatorProcess) -> None:
    submit(team, suspend=True)
    until_phase(team, "Suspended")
    settled(team, 1)
    assert children(team) == []
    suspend(team, False)
    until_phase(team, "Validating")


def test_children_are_cleaned_up_after_the_result_is_stored(team: Kubectl, operator: OperatorProcess) -> None:
    submit(team, limits={"ttlSecondsAfterFinished": 0})
    done = run_to_completion(team)
    team.wait("children are gone", lambda: not children(team), timeout=60)
    settled(team, 1)
    assert status(team) == done
    assert children(team) == []


def test_a_quota_that_refuses_the_job_is_told_and_tried_again(team: Kubectl, operator: OperatorProcess) -> None:
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none", "namespace": team.namespace}}
    hard = {"hard": {"count/jobs.batch": "0"}}
    team.apply({**quota, "spec": hard})
    team.run(
        "patch", "resourcequota", "none", "--subresource=status", "--type=merge", "-p", json.dumps({"status": hard})
    )
    submit(team)
    told = team.wait("refusal is told", lambda: "quota" in status(team).get("message", "") and status(team), timeout=30)
    assert reasons(told)["Stalled"] == ("True", "QuotaExceeded")
    team.run("delete", "resourcequota", "none")
    team.wait("Job is created", lambda: children(team), timeout=60)
    assert "Stalled" not in reasons(until_phase(team, "Validating"))


def test_preflight_is_told_the_memory_of_the_smallest_gpu_that_training_can_get(
    server: Kubectl, team: Kubectl, tmp_path: Path
) -> None:
    pool = str(team.namespace)
    gpus = {"large": "81920", "small": "15360"}
    for name, mebibytes in gpus.items():
        labels = {"pool": pool, "size": name, "nvidia.com/gpu.memory": mebibytes}
        server.apply({"apiVersion": "v1", "kind": "Node", "metadata": {"name": f"{pool}-{name}", "labels": labels}})
    try:
        with OperatorProcess(team, tmp_path / "operator.log", "--namespaces", pool):
            submit(team, "any", scheduling={"nodeSelector": {"pool": pool}})
            submit(team, "large", scheduling={"nodeSelector": {"pool": pool, "size": "large"}})
            submit(team, "elsewhere", scheduling={"nodeSelector": {"pool": "none"}})
            told = {name: gpu_memory_told(team, name) for name in ("any", "large", "elsewhere")}
    finally:
        server.run("delete", "node", *(f"{pool}-{name}" for name in gpus))
    assert told == {"any": 15 * 2**30, "large": 80 * 2**30, "elsewhere": None}


def gpu_memory_told(team: Kubectl, name: str) -> int | None:
    (job,) = team.wait(f"preflight Job of {name}", lambda: children(team, name), timeout=30, interval=0.2)
    environment = {item["name"]: item["value"] for item in job["spec"]["template"]["spec"]["containers"][0]["env"]}
    return TrainerRequest.model_validate_json(environment[ENVIRONMENT_VARIABLE]).gpu_memory_bytes


def test_where_kueue_is_not_installed_a_queue_is_refused_and_everything_else_works(
    team: Kubectl, tmp_path: Path
) -> None:
    flags = ("--namespaces", str(team.namespace), "--kueue", "true")
    with OperatorProcess(team, tmp_path / "operator.log", *flags) as operator:
        submit(team, "queued", scheduling={"queue": "gpus"})
        end(team, "preflight", 0, o.passed(), "queued")
        told = team.wait(
            "refusal is told",
            lambda: reasons(status(team, "queued")).get("Stalled") == ("True", "QueueUnavailable"),
            timeout=30,
        )
        assert told
        assert [job["metadata"]["name"] for job in children(team, "queued")] == ["queued-preflight"]
        submit(team)
        run_to_completion(team)
        assert "does not serve Kueue's Workloads" in operator.log()


def test_a_user_takes_a_queued_job_out_of_its_queue_and_puts_it_back(queueing_team: Kubectl, tmp_path: Path) -> None:
    team = queueing_team
    flags = ("--namespaces", str(team.namespace), "--kueue", "true")
    with OperatorProcess(team, tmp_path / "operator.log", *flags):
        submit(team, scheduling={"queue": "gpus"})
        end(team, "preflight", 0, o.passed())
        queue_up(team)
        team.wait("Kueue's words", lambda: "unused quota" in status(team).get("message", ""), timeout=30)
        assert reasons(status(team))["Queued"] == ("True", "WaitingForQuota")
        suspend(team, True)
        until_phase(team, "Suspended")
        (out,) = team.items("workloads")
        assert out["spec"]["active"] is False
        assert out["metadata"]["annotations"][SUSPENDED_BY] == MANAGER
        suspend(team, False)
        until_phase(team, "Queued")
        (back,) = team.items("workloads")
        assert back["spec"]["active"] is True
        assert SUSPENDED_BY not in back["metadata"]["annotations"]
        assert (team.get("job", "tune-train") or {})["spec"]["suspend"] is True


def queue_up(team: Kubectl) -> None:
    """Be Kueue: make the Workload of the training Job, and say that there is no room."""
    job = team.wait("training Job", lambda: team.get("job", "tune-train"), timeout=30, interval=0.2)
    made = o.workload("train", namespace=team.namespace)
    for known_later in ("uid", "resourceVersion", "creationTimestamp"):
        del made["metadata"][known_later]
    made["metadata"]["ownerReferences"][0]["uid"] = job["metadata"]["uid"]
    made["spec"]["podSets"] = [{"name": "main", "count": 1, "template": job["spec"]["template"]}]
    team.apply({"apiVersion": "kueue.x-k8s.io/v1beta2", "kind": "Workload", **made, "status": {}})
    lacking = o.verdict("QuotaReserved", "Pending", "insufficient unused quota", holds=False)
    patch = json.dumps({"status": {"conditions": [lacking]}})
    team.run("patch", "workload", made["metadata"]["name"], "--subresource=status", "--type=merge", "-p", patch)


def test_sigterm_ends_with_status_zero_within_seconds(operator: OperatorProcess) -> None:
    began = time.monotonic()
    assert operator.ask_to_stop() == 0
    assert time.monotonic() - began < 10
    assert "Traceback" not in operator.log()


def test_probes_and_metrics_answer(operator: OperatorProcess) -> None:
    assert operator.get("/healthz") == (200, "ok")
    assert operator.get("/readyz") == (200, "ok")
    assert "workqueue_depth" in operator.get("/metrics")[1]
