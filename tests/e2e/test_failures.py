"""Each class of failure provoked for real: class, reason, advice, attempts and events of what the cluster does.

Bad input, gates and disruptions have files of their own: test_bad_input, test_gates, test_disruptions.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from team import Team, make_namespace, team_of

pytestmark = [pytest.mark.cluster, pytest.mark.slow(name="failures", minutes=8)]

SMALL = {"gpus": {"count": 0}, "cpu": "300m", "memory": "2Gi", "scratch": "1Gi"}
ENDLESS = {"tokensPerStep": 64, "learningRate": 0.01, "epochs": 1000}
SOON = {"maxPendingSeconds": 20, "retries": 1}


def no_secret(team: Team, name: str) -> dict[str, Any]:
    job = team.job(name, limits=SOON)
    job["spec"]["storage"]["credentials"]["secretName"] = "nobody-made-it"
    return job


def no_node(team: Team, name: str) -> dict[str, Any]:
    return team.job(name, limits=SOON, resources=SMALL, scheduling={"nodeSelector": {"made": "nowhere"}})


def no_storage(team: Team, name: str) -> dict[str, Any]:
    job = team.job(name)
    job["spec"]["storage"] = {"endpoint": "http://nobody.invalid:9", "credentials": {"secretName": "s3-credentials"}}
    return job


def too_little_memory(team: Team, name: str) -> dict[str, Any]:
    return team.job(name, resources={**SMALL, "memory": "220Mi"}, limits={"retries": 5})


def too_little_disk(team: Team, name: str) -> dict[str, Any]:
    """The kubelet looks at disks once a minute: training has to take longer."""
    return team.job(name, training=ENDLESS, resources={**SMALL, "scratch": "64Ki"}, limits={"retries": 5})


def diverging(team: Team, name: str) -> dict[str, Any]:
    training = {
        "tokensPerStep": 64,
        "learningRate": 1,
        "warmupRatio": 0.5,
        "epochs": 40,
        "guards": {"divergenceFactor": 1.2},
    }
    return team.job(name, training=training, resources=SMALL)


def out_of_time(team: Team, name: str) -> dict[str, Any]:
    return team.job(name, training=ENDLESS, resources=SMALL, limits={"maxRunSeconds": 150})


@dataclass(frozen=True)
class Case:
    """What is submitted, and what must be told."""

    build: Callable[[Team, str], dict[str, Any]]
    failure_class: str
    reason: str
    says: str
    """Part of the message."""
    advises: str
    """Part of the advice."""
    outcomes: tuple[str, ...] = ()
    """Of the attempts at training."""
    warnings: tuple[str, ...] = ()
    """Reasons of Warning events, as a set."""


CASES = {
    "no-secret": Case(
        no_secret,
        "Settings",
        "VolumeMissing",
        "Secret nobody-made-it or ConfigMap s3-ca is not in namespace",
        "Create the Secret",
        warnings=("VolumeMissing",),
    ),
    "no-node": Case(
        no_node,
        "Cluster",
        "Unschedulable",
        "(given up after 20s, limits.maxPendingSeconds)",
        "spec.scheduling",
        warnings=("Unschedulable",),
    ),
    "no-storage": Case(
        no_storage,
        "Infrastructure",
        "StorageUnavailable",
        "cannot list s3://",
        "spec.storage.endpoint",
        warnings=("Retrying", "StorageUnavailable"),
    ),
    "too-little-memory": Case(
        too_little_memory,
        "OutOfMemory",
        "OutOfMemory",
        "It happened 2 times",
        "resources.memory",
        outcomes=("Failed", "Failed"),
        warnings=("Retrying", "OutOfMemory"),
    ),
    "too-little-disk": Case(
        too_little_disk,
        "Settings",
        "ScratchFull",
        "evicted",
        "resources.scratch",
        outcomes=("Failed",),
        warnings=("ScratchFull",),
    ),
    "diverging": Case(
        diverging,
        "Diverged",
        "Diverged",
        "training diverged",
        "training.learningRate",
        outcomes=("Failed",),
        warnings=("Diverged",),
    ),
    "out-of-time": Case(
        out_of_time,
        "Limits",
        "RunTimeExceeded",
        "limits.maxRunSeconds",
        "goes on from the last checkpoint",
        outcomes=("Preempted",),
        warnings=("RunTimeExceeded",),
    ),
}


@pytest.fixture(scope="module")
def submitted(shared_team: Team) -> Team:
    """All cases at once: they wait for the node side by side."""
    for name, case in CASES.items():
        shared_team.submit(case.build(shared_team, name))
    return shared_team


def warned(team: Team, name: str) -> set[str]:
    selector = f"type=Warning,involvedObject.kind=FinetuneJob,involvedObject.name={name}"
    return {event["reason"] for event in team.kubectl.items("events", "--field-selector", selector)}


@pytest.mark.parametrize("name", CASES)
def test_a_failure_says_what_happened_and_what_to_do(submitted: Team, name: str) -> None:
    case = CASES[name]
    failure = submitted.failed(name, timeout=600)
    status = submitted.get(name)["status"]
    assert (failure["class"], failure["reason"]) == (case.failure_class, case.reason), failure
    assert case.says in failure["message"]
    assert case.advises in failure["advice"]
    assert tuple(attempt["outcome"] for attempt in status.get("attempts", [])) == case.outcomes
    # The cases compete for one node.
    assert warned(submitted, name) - {"Unschedulable"} == set(case.warnings) - {"Unschedulable"}
    described = submitted.kubectl.run("describe", "ftj", name)
    assert case.reason in described
    assert failure["advice"][:40] in " ".join(described.split())
    assert failure["retryable"] is (case.failure_class == "Infrastructure")
    if case.outcomes and case.failure_class != "Limits":
        assert failure["node"]
        assert failure["container"].endswith("/trainer")


def test_a_failed_job_leaves_nothing_at_work(submitted: Team) -> None:
    for name in CASES:
        submitted.failed(name, timeout=600)
    alive = ("Pending", "Running")

    def at_work() -> list[str]:
        pods = submitted.kubectl.items("pods")
        return [
            pod["metadata"]["name"]
            for pod in pods
            if pod["metadata"]["labels"].get("finetune.dev/job") in CASES and pod["status"]["phase"] in alive
        ]

    submitted.kubectl.wait("no pod is at work", lambda: not at_work(), timeout=120)


def test_a_job_out_of_time_goes_on_where_it_was_once_it_has_more(submitted: Team) -> None:
    submitted.failed("out-of-time", timeout=600)
    (attempt,) = submitted.get("out-of-time")["status"]["attempts"]
    assert attempt["savedStep"] > 0
    more = out_of_time(submitted, "out-of-time")
    more["spec"]["limits"] = {"maxRunSeconds": 36000}
    submitted.kubectl.run("delete", "ftj", "out-of-time", "--wait=true")
    submitted.submit(more)
    attempts = submitted.until(
        "out-of-time",
        "an attempt that tells where it began",
        lambda job: [a for a in job["status"].get("attempts", []) if a.get("resumedFromStep")],
    )
    assert attempts[-1]["resumedFromStep"] == attempt["savedStep"]
    submitted.kubectl.run("delete", "ftj", "out-of-time", "--wait=true")


def test_an_image_that_does_not_exist_ends_the_job(team: Team) -> None:
    """The operator's image is one for all jobs, so that the one to which this job is pinned is changed."""
    team.submit(team.job("no-image", suspend=True, limits=SOON))
    image = team.until("no-image", "suspended", lambda job: job["status"].get("phase") == "Suspended" and job)
    assert image
    wrong = json.dumps({"status": {"image": "registry.invalid/trainer@sha256:" + "0" * 64}})
    team.kubectl.run("patch", "ftj", "no-image", "--subresource=status", "--type=merge", "-p", wrong)
    team.kubectl.run("patch", "ftj", "no-image", "--type=merge", "-p", '{"spec": {"suspend": false}}')
    failure = team.failed("no-image")
    assert (failure["class"], failure["reason"]) == ("Cluster", "ImagePullFailed")
    assert "registry.invalid" in failure["message"]
    assert "platform team" in failure["advice"]
    assert warned(team, "no-image") == {"ImagePullFailed"}


def test_quota_and_policy_are_told_and_end_the_job(installed: Any, tiny_model: Any) -> None:
    name = "e2e-refused"
    installed.kubectl.run("delete", "namespace", name, "--ignore-not-found", timeout=300)
    team = team_of(installed, make_namespace(installed, name))
    policy = refuse_jobs_labelled(name)
    try:
        quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none", "namespace": name}}
        team.kubectl.apply({**quota, "spec": {"hard": {"count/jobs.batch": "0"}}})
        team.submit(team.job("no-quota", limits=SOON))
        by_quota = team.failed("no-quota", timeout=120)
        assert (by_quota["class"], by_quota["reason"]) == ("Cluster", "QuotaExceeded")
        assert "exceeded quota: none" in by_quota["message"]
        team.kubectl.run("delete", "resourcequota", "none")
        installed.kubectl.apply(*policy)
        team.submit(team.job("no-permission", limits=SOON))
        by_policy = team.failed("no-permission", timeout=120)
        assert (by_policy["class"], by_policy["reason"]) == ("Cluster", "AdmissionDenied")
        assert "no Jobs here" in by_policy["message"]
        assert warned(team, "no-permission") == {"AdmissionDenied"}
    finally:
        for item in policy:
            installed.kubectl.run("delete", item["kind"], item["metadata"]["name"], "--ignore-not-found")
        installed.kubectl.run("delete", "namespace", name, "--wait=false")


def refuse_jobs_labelled(namespace: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """A policy of the cluster that lets no Job of ours into a namespace."""
    api, metadata = "admissionregistration.k8s.io/v1", {"name": f"{namespace}-no-jobs"}
    rule = {"apiGroups": ["batch"], "apiVersions": ["v1"], "resources": ["jobs"], "operations": ["CREATE"]}
    policy = {
        "failurePolicy": "Fail",
        "matchConstraints": {"resourceRules": [rule]},
        "validations": [{"expression": "false", "message": "no Jobs here"}],
    }
    binding = {
        "policyName": metadata["name"],
        "validationActions": ["Deny"],
        "matchResources": {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}},
    }
    return (
        {"apiVersion": api, "kind": "ValidatingAdmissionPolicy", "metadata": metadata, "spec": policy},
        {"apiVersion": api, "kind": "ValidatingAdmissionPolicyBinding", "metadata": metadata, "spec": binding},
    )
