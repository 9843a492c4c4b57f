"""A real API server accepts the CRD, fills in the defaults and enforces every rule with a message that helps."""

import copy
from collections.abc import Iterator
from typing import Any

import pytest
from kubectl import Kubectl, KubectlError

from finetune_api.crd import custom_resource_definition
from finetune_api.spec.job import FIXED, FinetuneJobSpec

pytestmark = pytest.mark.cluster

JOB: dict[str, Any] = {
    "apiVersion": "finetune.dev/v1alpha1",
    "kind": "FinetuneJob",
    "metadata": {"name": "sample"},
    "spec": {
        "model": {"uri": "s3://models/base"},
        "data": {"train": [{"uri": "s3://team-a/train.jsonl"}]},
        "output": {"uri": "s3://team-a/out"},
    },
}

# (change to the sample's spec, what the API server says)
VIOLATIONS: dict[str, tuple[dict[str, Any], str]] = {
    "unknown field": ({"modle": {}}, 'unknown field "spec.modle"'),
    "unknown nested field": ({"training": {"lr": 1}}, 'unknown field "spec.training.lr"'),
    "wrong type": ({"training": {"epochs": "three"}}, 'spec.training.epochs: Invalid value: "string"'),
    "missing model": ({"model": None}, "spec.model: Required value"),
    "not an S3 URI": ({"model": {"uri": "/mnt/model"}}, "spec.model.uri: Invalid value"),
    "path traversal": ({"output": {"uri": "s3://team-a/%2e%2e/other"}}, "spec.output.uri: Invalid value"),
    "no training data": ({"data": {"train": []}}, "spec.data.train: Invalid value"),
    "too many data sets": ({"data": {"train": [{"uri": "s3://team-a/x"}] * 17}}, "spec.data.train: Too many"),
    "unknown objective": ({"objective": {"type": "rlhf"}}, "spec.objective.type: Unsupported value"),
    "unknown method": ({"method": {"type": "prefix"}}, "spec.method.type: Unsupported value"),
    "rank out of bounds": ({"method": {"lora": {"rank": 0}}}, "spec.method.lora.rank: Invalid value"),
    "learning rate zero": ({"training": {"learningRate": 0}}, "spec.training.learningRate: Invalid value"),
    "unknown metric": ({"evaluation": {"metrics": ["bleu"]}}, "spec.evaluation.metrics[0]: Unsupported value"),
    "gpu resource without a domain": ({"resources": {"gpus": {"resourceName": "gpu"}}}, "resourceName: Invalid value"),
    "endpoint that is not http": ({"storage": {"endpoint": "file:///etc"}}, "spec.storage.endpoint: Invalid value"),
    "retries beyond the bound": ({"limits": {"retries": 99}}, "spec.limits.retries: Invalid value"),
    "two identities": (
        {"storage": {"credentials": {"secretName": "s3"}, "serviceAccountName": "trainer"}},
        "set either storage.credentials (static keys) or storage.serviceAccountName (workload identity), not both",
    ),
    "no test rows": (
        {"data": {"train": [{"uri": "s3://team-a/x.jsonl"}], "split": {"test": 0}}},
        "data needs test rows: list data.test or set data.split.test above 0",
    ),
    "split leaves nothing": (
        {"data": {"train": [{"uri": "s3://team-a/x.jsonl"}], "split": {"test": 0.5, "validation": 0.5}}},
        "data.split leaves too little to train on: validation + test must stay below 0.9",
    ),
    "micro-batch beyond the step": (
        {"training": {"microBatchTokens": 64, "tokensPerStep": 32}},
        "training.microBatchTokens must not exceed training.tokensPerStep",
    ),
    "node selector key": (
        {"scheduling": {"nodeSelector": {"-bad": "x"}}},
        "scheduling.nodeSelector has a key that is not a label key",
    ),
}

CHANGES: dict[str, dict[str, Any]] = {
    "model": {"uri": "s3://models/other"},
    "objective": {},
    "data": {"train": [{"uri": "s3://team-a/other.jsonl"}]},
    "method": {"lora": {"rank": 4}},
    "training": {"seed": 9},
    "evaluation": {"fewShot": 1},
    "output": {"uri": "s3://team-a/elsewhere"},
    "storage": {"region": "eu-west-1"},
    "checkpoint": {"keep": 5},
    "resources": {"cpu": "2"},
    "scheduling": {"priorityClassName": "high"},
}


def sample(**changes: Any) -> dict[str, Any]:
    job = copy.deepcopy(JOB)
    job["spec"].update(changes)
    job["spec"] = {name: value for name, value in job["spec"].items() if value is not None}
    return job


@pytest.fixture(scope="module")
def team(server: Kubectl) -> Kubectl:
    """A namespace on an API server that serves the CRD of this very tree."""
    server.run("create", "namespace", "crd-rules")
    return server.inside("crd-rules")


@pytest.mark.parametrize(("change", "says"), VIOLATIONS.values(), ids=VIOLATIONS.keys())
def test_a_violation_is_refused_and_named(team: Kubectl, change: dict[str, Any], says: str) -> None:
    with pytest.raises(KubectlError) as refused:
        team.apply(sample(**change))
    assert says in refused.value.stderr


@pytest.mark.parametrize("section", [name for name in FIXED if CHANGES[name]])
def test_a_fixed_section_cannot_change(team: Kubectl, section: str) -> None:
    team.apply(sample())
    with pytest.raises(KubectlError) as refused:
        team.apply(sample(**{section: CHANGES[section]}))
    assert f"spec.{section} is immutable" in refused.value.stderr


def test_suspend_and_limits_can_change(team: Kubectl) -> None:
    team.apply(sample())
    team.apply(sample(limits={"retries": 7}))
    assert (stored := team.get("ftj", "sample"))
    assert stored["spec"]["limits"]["retries"] == 7


def test_server_side_defaults_equal_the_models_defaults(team: Kubectl) -> None:
    team.apply(sample())
    assert (stored := team.get("ftj", "sample"))
    assert FinetuneJobSpec.model_validate(stored["spec"]) == FinetuneJobSpec.model_validate(JOB["spec"])
    assert stored["spec"]["method"]["lora"]["rank"] == 16


def test_every_rule_has_a_violating_object() -> None:
    tested = {says for _, says in VIOLATIONS.values()} | {f"spec.{name} is immutable" for name in FIXED}
    for message in rules(custom_resource_definition()):
        assert any(says in message for says in tested), message


def rules(node: Any) -> Iterator[str]:
    """The message of every CEL rule in the definition."""
    if isinstance(node, dict):
        yield from (rule["message"] for rule in node.get("x-kubernetes-validations", []))
        for child in node.values():
            yield from rules(child)
    elif isinstance(node, list):
        for child in node:
            yield from rules(child)


def test_explain_teaches_the_data_section(team: Kubectl) -> None:
    text = team.run("explain", "ftj.spec.data")
    for field in ("train", "validation", "test", "split", "template", "maxTokens"):
        assert field in text
    assert "never trained on" in text
