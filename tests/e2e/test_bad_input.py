"""Bad input ends a job early with a reason, a message and advice; no training starts, and no GPU is asked for."""

from collections.abc import Callable
from typing import Any

import pytest
from team import Team, jsonl, rows

pytestmark = pytest.mark.cluster


def data(train: str, test: str) -> dict[str, Any]:
    return {"train": [{"uri": train}], "validation": [{"uri": test}], "test": [{"uri": test}], "maxTokens": 64}


def job(team: Team, name: str, train: bytes) -> dict[str, Any]:
    test = team.put(f"{name}/test.jsonl", jsonl(rows(4, first=900)))
    return team.job(name, data=data(team.put(f"{name}/bad.jsonl", train), test))


def missing_data_set(team: Team, name: str) -> dict[str, Any]:
    return team.job(name, data=data(f"s3://team-a/e2e/{team.run}/nowhere.jsonl", "s3://team-a/e2e/nowhere.jsonl"))


def wrong_bucket(team: Team, name: str) -> dict[str, Any]:
    return team.job(name, data=data("s3://team-b/train.jsonl", "s3://team-b/test.jsonl"))


def wrong_credentials(team: Team, name: str) -> dict[str, Any]:
    keys = {"AWS_ACCESS_KEY_ID": "AKIAWRONG", "AWS_SECRET_ACCESS_KEY": "wrong-secret-wrong-secret"}
    metadata = {"name": "wrong-keys", "namespace": team.kubectl.namespace}
    team.kubectl.apply({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": keys})
    manifest = team.job(name)
    manifest["spec"]["storage"]["credentials"]["secretName"] = "wrong-keys"
    return manifest


def broken_line(team: Team, name: str) -> dict[str, Any]:
    return job(team, name, jsonl(rows(3)) + b'{"instruction": "half a row\n')


def empty_data_set(team: Team, name: str) -> dict[str, Any]:
    return job(team, name, b"")


def answer_cut_off(team: Team, name: str) -> dict[str, Any]:
    return job(team, name, jsonl([*rows(3), {"instruction": "Long?", "response": "very " * 200}]))


def not_a_model(team: Team, name: str) -> dict[str, Any]:
    readme = team.put("not-a-model/README.md", b"# no model here\n")
    return team.job(name, model={"uri": readme.rsplit("/", 1)[0]})


def unknown_target_module(team: Team, name: str) -> dict[str, Any]:
    return team.job(name, method={"lora": {"targetModules": ["no_such_layer"]}})


def invisible_gpu(team: Team, name: str) -> dict[str, Any]:
    gpus = {"count": 1, "resourceName": "example.com/gpu"}
    resources = {"gpus": gpus, "cpu": "900m", "memory": "2Gi", "scratch": "1Gi"}
    return team.job(name, resources=resources, limits={"retries": 0})


def foreign_job(team: Team, name: str) -> dict[str, Any]:
    container = {"name": "foreign", "image": "registry.invalid/nothing", "command": ["true"]}
    template = {"spec": {"restartPolicy": "Never", "containers": [container]}}
    metadata = {"name": f"{name}-preflight", "namespace": team.kubectl.namespace}
    team.kubectl.apply(
        {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": {"suspend": True, "template": template}}
    )
    return team.job(name)


# name: (what is submitted, reason, what the message names)
PREFLIGHT: dict[str, tuple[Callable[[Team, str], dict[str, Any]], str, str]] = {
    "missing-data-set": (missing_data_set, "DatasetNotFound", "nowhere.jsonl"),
    "wrong-bucket": (wrong_bucket, "AccessDenied", "team-b"),
    "wrong-credentials": (wrong_credentials, "AccessDenied", "s3://"),
    "broken-line": (broken_line, "DatasetInvalid", "bad.jsonl:4"),
    "empty-data-set": (empty_data_set, "DatasetEmpty", "bad.jsonl"),
    "answer-cut-off": (answer_cut_off, "DatasetInvalid", "bad.jsonl:4"),
    "not-a-model": (not_a_model, "ModelInvalid", "config.json"),
    "unknown-target-module": (unknown_target_module, "SettingsInvalid", "no_such_layer"),
    "foreign-job": (foreign_job, "NameCollision", "foreign-job-preflight"),
}
TRAINING: dict[str, tuple[Callable[[Team, str], dict[str, Any]], str, str]] = {
    "invisible-gpu": (invisible_gpu, "GpuNotVisible", "GPU"),
}


@pytest.fixture(scope="module")
def submitted(shared_team: Team) -> Team:
    """All cases at once: they wait for the node side by side."""
    for name, (build, _, _) in {**PREFLIGHT, **TRAINING}.items():
        shared_team.submit(build(shared_team, name))
    return shared_team


@pytest.mark.parametrize(("name", "reason", "names"), [(n, r, s) for n, (_, r, s) in PREFLIGHT.items()])
def test_preflight_refuses_and_nothing_is_trained(submitted: Team, name: str, reason: str, names: str) -> None:
    failure = submitted.failed(name)
    assert failure["reason"] == reason
    assert names in failure["message"]
    assert failure["advice"]
    assert not failure["retryable"]
    assert failure["class"] in ("Settings", "Data", "Credentials")
    assert submitted.get(name)["status"]["attempts"] == []
    assert warned(submitted, name) == {reason}
    assert [child["metadata"]["name"] for child in submitted.jobs(name)] in ([], [f"{name}-preflight"])
    assert submitted.condition(name, "Stalled")["status"] == "True"


def warned(team: Team, name: str) -> set[str]:
    """Reasons of Warning events, but for waits of jobs that compete for the node."""
    selector = f"type=Warning,involvedObject.kind=FinetuneJob,involvedObject.name={name}"
    events = team.kubectl.items("events", "--field-selector", selector)
    return {event["reason"] for event in events} - {"Unschedulable"}


@pytest.mark.parametrize(("name", "reason", "names"), [(n, r, s) for n, (_, r, s) in TRAINING.items()])
def test_training_refuses_before_the_first_step(submitted: Team, name: str, reason: str, names: str) -> None:
    failure = submitted.failed(name)
    assert failure["reason"] == reason
    assert names in failure["message"]
    assert "progress" not in (status := submitted.get(name)["status"]) or status["progress"]["step"] == 0


def test_a_foreign_job_is_never_touched(submitted: Team) -> None:
    submitted.failed("foreign-job")
    foreign = submitted.kubectl.get("job", "foreign-job-preflight")
    assert foreign is not None
    assert "ownerReferences" not in foreign["metadata"]
    assert foreign["spec"]["suspend"] is True


def test_an_output_with_another_jobs_adapter_is_refused_and_kept(finished: Team) -> None:
    before = finished.objects("finished")
    finished.submit(finished.job("second", output={"uri": finished.output("finished")}))
    failure = finished.failed("second")
    assert failure["reason"] == "OutputOccupied"
    assert "finished" in failure["message"]
    assert set(before) <= set(finished.objects("finished"))


def test_no_case_leaks_a_secret(submitted: Team, installed: Any) -> None:
    text = submitted.kubectl.run("get", "ftj,jobs,pods,events,configmaps", "-o", "json")
    for pod in submitted.kubectl.items("pods"):
        text += submitted.kubectl.run("logs", pod["metadata"]["name"], "--all-containers", "--ignore-errors")
    for secret in (*installed.keys.values(), "wrong-secret-wrong-secret"):
        assert secret not in text
