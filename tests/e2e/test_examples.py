"""Every worked example on the real model: the tuned model is better, and the status says what its page says.

Run one with `pytest --full -k house_manual`; a case takes minutes on two cores.
"""

import json
from typing import Any

import pytest
from example_run import run_example
from examples.demo.example import Example
from examples.demo.target import TEAM, Target

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(2400)]

TOKENS = 9_500
"""What a job may train on; see the budgets in tests/examples."""


def run(target: Target, name: str, job: str = "finetunejob.yaml") -> dict[str, Any]:
    """The status of a finished example, after the checks that hold for all."""
    example = Example.load(name, job)
    finished = run_example(target, example)
    status = dict(finished["status"])
    assert status["artifact"]["verified"] is True
    assert status["gpuSeconds"] == 0
    assert requested_gpus(target, finished["metadata"]["name"]) == []
    assert [attempt["outcome"] for attempt in status["attempts"]] == ["Succeeded"]
    data, weights = status["data"], [each.get("weight", 1) for each in finished["spec"]["data"]["train"]]
    assert [data.get(what, 0) for what in ("badRows", "duplicateRows", "leftOutRows", "truncatedRows")] == [0, 0, 0, 0]
    if set(weights) == {1}:
        assert data["trainTokens"] * finished["spec"]["training"]["epochs"] <= TOKENS
    assert status["evaluation"]["rows"] == data["testRows"]
    return status


def requested_gpus(target: Target, job: str) -> list[str]:
    """Resources other than a CPU's that the job's children ask for."""
    children = target.kubectl.inside(TEAM).items("jobs", "-l", f"finetune.dev/job={job}")
    assert children
    pods = [child["spec"]["template"]["spec"] for child in children]
    asked = {name for pod in pods for each in pod["containers"] for name in each["resources"].get("limits", {})}
    return sorted(asked - {"cpu", "memory", "ephemeral-storage"})


def headline(status: dict[str, Any], name: str) -> dict[str, Any]:
    """The first metric, which must be better than the base."""
    first = dict(status["evaluation"]["metrics"][0])
    assert first["name"] == name
    assert first["verdict"] == "better"
    return first


def rivals(metric: dict[str, Any]) -> dict[str, str]:
    """Verdicts against other models, by name."""
    return {rival["name"]: rival["verdict"] for rival in metric["rivals"]}


def slices(status: dict[str, Any]) -> dict[str, tuple[float, float]]:
    """Base and tuned, by data set."""
    found = status["evaluation"]["slices"]
    return {each["name"]: (float(each["baseline"]), float(each["tuned"])) for each in found}


def full_report(target: Target, status: dict[str, Any]) -> dict[str, Any]:
    folder = status["reportUri"].rpartition("/")[0]
    return dict(json.loads(target.storage.read(f"{folder}/report.json") or b"{}"))


@pytest.mark.slow(name="example house-manual", minutes=4)
def test_house_manual_learns_the_domain_and_keeps_its_english(installed: Target) -> None:
    status = run(installed, "house-manual")
    headline(status, "loss")
    assert [metric["name"] for metric in status["evaluation"]["metrics"]] == ["loss", "perplexity"]
    by_set = slices(status)
    assert set(by_set) == {"manual", "general"}
    assert by_set["manual"][1] < 0.75 * by_set["manual"][0]
    assert by_set["general"][1] < 1.05 * by_set["general"][0]


@pytest.mark.slow(name="example review-sentiment", minutes=5)
def test_review_sentiment_beats_base_and_majority_with_a_new_head(installed: Target) -> None:
    status = run(installed, "review-sentiment")
    assert rivals(headline(status, "accuracy")) == {"majority": "better", "few_shot": "better"}
    evaluation = full_report(installed, status)["evaluation"]
    assert evaluation["labels"] == ["positive", "negative", "neutral"]
    assert [sum(row) for row in evaluation["confusion"]] == [20, 20, 20]


@pytest.mark.slow(name="example review-sentiment, generative", minutes=5)
def test_review_sentiment_beats_base_and_majority_by_writing_the_label(installed: Target) -> None:
    status = run(installed, "review-sentiment", "generative.yaml")
    assert rivals(headline(status, "accuracy")) == {"majority": "better"}
    confusion = full_report(installed, status)["evaluation"]["confusion"]
    assert sum(map(sum, confusion)) == 60


@pytest.mark.slow(name="example support-tone", minutes=6)
def test_support_tone_prefers_the_house_style(installed: Target) -> None:
    status = run(installed, "support-tone")
    assert float(headline(status, "pair_accuracy")["tuned"]) >= 0.8
    loss = next(metric for metric in status["evaluation"]["metrics"] if metric["name"] == "loss")
    assert float(loss["baseline"]) == pytest.approx(0.6931, abs=1e-3)
    assert loss["verdict"] == "better"


@pytest.mark.slow(name="example support-tone, reward", minutes=5)
def test_support_tone_scores_the_house_style_higher(installed: Target) -> None:
    status = run(installed, "support-tone", "reward.yaml")
    assert float(headline(status, "pair_accuracy")["tuned"]) >= 0.8


@pytest.mark.usefixtures("order_desk")
@pytest.mark.slow(name="example order-desk, transfer", minutes=11)
def test_order_desk_goes_on_from_its_adapter_and_beats_it_on_the_new_record(installed: Target) -> None:
    status = run(installed, "order-desk", "transfer.yaml")
    assert rivals(headline(status, "exact_match")) == {"few_shot": "better", "parent": "better"}
    lineage = full_report(installed, status)["lineage"]
    assert lineage["parentAdapter"].startswith(f"{installed.team_uri}/adapters/order-desk-")
    assert lineage["parentAdapterDigest"].startswith("sha256:")


@pytest.mark.slow(name="example order-desk, mixed", minutes=6)
def test_order_desk_learns_two_tasks_at_once(installed: Target) -> None:
    status = run(installed, "order-desk", "mixed.yaml")
    headline(status, "exact_match")
    by_set = slices(status)
    assert set(by_set) == {"orders", "requests"}
    assert all(tuned > baseline + 0.2 for baseline, tuned in by_set.values())
