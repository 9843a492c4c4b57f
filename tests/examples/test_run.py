"""`make example`: which files go where, what the applied job says, and which adapter it goes on from."""

from pathlib import Path
from typing import Any, cast

import pytest
from examples.demo.example import Example
from examples.demo.job import newest_adapter
from examples.demo.target import DemoError, Target
from kubectl import Kubectl

from finetune_api.spec.model import Storage as StorageSpec
from finetune_trainer.storage import Storage


@pytest.fixture
def target() -> Target:
    """A cluster of somebody's own, with one bucket for everything."""
    return Target(
        kubectl=Kubectl(Path("kubectl")),
        helm="helm",
        operator_image="operator:1",
        trainer_image="trainer:1",
        model_uri="s3://theirs/models/base",
        team_uri="s3://theirs/team-a",
        storage_spec=StorageSpec(endpoint="https://s3.example.com"),
        keys={},
        ca_pem=None,
        storage=cast("Storage", None),
        stop=None,
    )


def finished(name: str, at: str, phase: str = "Complete") -> dict[str, Any]:
    status = {"phase": phase, "finishedAt": at}
    if phase == "Complete":
        status |= {"artifact": {"uri": f"s3://team-a/adapters/{name}/runs/0001/adapter/"}}  # type: ignore[dict-item]
    return {"metadata": {"name": name}, "status": status}


def test_every_uri_of_a_job_moves_to_the_targets_buckets(target: Target) -> None:
    example = Example.load("house-manual")
    job = example.manifest_for(target, "house-manual-3", seed=5, adapter_uri=None)
    spec = job["spec"]
    assert job["metadata"]["name"] == "house-manual-3"
    assert spec["model"] == {"uri": "s3://theirs/models/base"}
    assert spec["data"]["train"][0] == {"name": "manual", "uri": "s3://theirs/team-a/house-manual/manual/"}
    assert spec["data"]["test"][1]["uri"] == "s3://theirs/team-a/house-manual/general-test.jsonl"
    assert spec["output"]["uri"] == "s3://theirs/team-a/adapters/house-manual-3"
    assert spec["storage"]["endpoint"] == "https://s3.example.com"
    assert spec["training"]["seed"] == 5


def test_a_prefix_is_uploaded_file_by_file() -> None:
    example = Example.load("house-manual")
    assert {"house-manual/manual/1-parts.txt", "house-manual/general.jsonl"} <= set(example.data_files)
    assert all(path.is_file() for path in example.data_files.values())


def test_a_transfer_goes_on_from_the_last_complete_run_of_its_parent(target: Target) -> None:
    example = Example.load("order-desk", "transfer.yaml")
    jobs = [
        finished("order-desk-1", "2026-01-01T10:00:00Z"),
        finished("order-desk-2", "2026-01-02T10:00:00Z"),
        finished("order-desk-3", "2026-01-03T10:00:00Z", phase="Failed"),
        finished("order-desk-mixed-1", "2026-01-04T10:00:00Z"),
    ]
    assert example.parent == "order-desk"
    adapter = newest_adapter(jobs, example.parent)
    assert adapter == "s3://team-a/adapters/order-desk-2/runs/0001/adapter/"
    job = example.manifest_for(target, "order-desk-transfer-1", seed=0, adapter_uri=adapter)
    assert job["spec"]["model"]["adapterUri"] == adapter


def test_a_transfer_without_a_finished_parent_says_what_to_run_first() -> None:
    running = {"metadata": {"name": "order-desk-1"}, "status": {"phase": "Running"}}
    with pytest.raises(DemoError, match="run `make example NAME=order-desk` first"):
        newest_adapter([running], "order-desk")


def test_an_unknown_example_is_answered_with_those_there_are() -> None:
    with pytest.raises(DemoError, match=r"choose from .*review-sentiment \(generative\.yaml\)"):
        Example.load("review-sentiments")
