"""Broken data sets by `kubectl apply`: refused with a line and a remedy, and no GPU pod is ever created."""

from typing import Any

import pytest
from broken_data import CASES, Broken, good_rows
from kubectl import Kubectl
from team import Team

pytestmark = pytest.mark.cluster

REFUSED = {name: case for name, case in CASES.items() if case.reason}
GPU = {"count": 1, "resourceName": "example.com/gpu"}


def object_name(name: str) -> str:
    return "broken-" + "".join(c if c.isalnum() else "-" for c in name.lower()).strip("-")


def train_uri(team: Team, name: str, case: Broken) -> str:
    return f"s3://{team.bucket}/e2e/{team.run}/broken/{object_name(name)}/{case.name}"


def job(team: Team, name: str, case: Broken) -> dict[str, Any]:
    own = object_name(name)
    objective = case.sections.get("objective", {}).get("type", "sft")
    test = case.test if case.test is not None else good_rows(objective)
    sections = {section: dict(values) for section, values in case.sections.items()}
    mapped = sections.pop("data", {}).get("train", [{}])[0]
    data = {
        "train": [{"uri": team.put(f"broken/{own}/{case.name}", case.content())} | mapped],
        "test": [{"uri": team.put(f"broken/{own}/test.jsonl", test)}],
        "split": {"validation": 0},
        "maxTokens": 128,
    }
    resources = {"gpus": GPU, "cpu": "900m", "memory": "2Gi", "scratch": "1Gi"}
    return team.job(own, data=data, resources=resources, **sections)


@pytest.fixture(scope="module")
def submitted(shared_team: Team, request: pytest.FixtureRequest) -> Team:
    """Every chosen case at once: they wait for the node side by side."""
    chosen = {item.callspec.params["name"] for item in request.session.items if item.module is request.module}
    for name in sorted(chosen):
        shared_team.submit(job(shared_team, name, REFUSED[name]))
    return shared_team


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow(name=f"broken data: {n}", minutes=0.2)) for n in REFUSED]
)
def test_it_is_refused_with_its_place_and_no_gpu_pod_is_created(submitted: Team, name: str) -> None:
    case, own = REFUSED[name], object_name(name)
    failure = submitted.failed(own, timeout=900)
    assert failure["reason"] == case.reason
    # Messages in status are at most 1024 characters long.
    assert case.expected.replace("{train}", train_uri(submitted, name, case)) in failure["message"]
    assert failure["advice"]
    assert submitted.condition(own, "Validated")["status"] == "False"
    assert [child["metadata"]["name"] for child in submitted.jobs(own)] == [f"{own}-preflight"]
    assert gpu_pods(submitted.kubectl, own) == []


def gpu_pods(kubectl: Kubectl, name: str) -> list[str]:
    """Pods that ask for a GPU; their request, an environment variable, names the resource in any case."""
    pods = kubectl.items("pods", "-l", f"finetune.dev/job={name}")
    asked = {pod["metadata"]["name"]: str([each["resources"] for each in pod["spec"]["containers"]]) for pod in pods}
    assert asked
    return [pod for pod, resources in asked.items() if GPU["resourceName"] in resources]
