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


def data(**changes: Any) -> dict[str, Any]:
    return {"train": [{"uri": "s3://team-a/train.jsonl"}], **changes}


def classify(*labels: str) -> dict[str, Any]:
    return {"type": "classification", "classification": {"labels": list(labels)}}


def affinity(**requirement: Any) -> dict[str, Any]:
    return {"scheduling": {"nodeAffinity": [{"key": "zone", **requirement}]}}


BENCHMARKS: dict[str, Any] = {"benchmarks": [{"task": "arc_easy", "uri": "s3://team-a/arc/"}]}

# (change to the sample's spec, what the API server says)
VIOLATIONS: dict[str, tuple[dict[str, Any], str]] = {
    "unknown field": ({"modle": {}}, 'unknown field "spec.modle"'),
    "unknown nested field": ({"training": {"lr": 1}}, 'unknown field "spec.training.lr"'),
    "wrong type": ({"training": {"epochs": "three"}}, 'spec.training.epochs: Invalid value: "string"'),
    "a priority among nobody": (
        {"scheduling": {"workloadPriorityClass": "urgent"}},
        "scheduling.workloadPriorityClass is a priority among Kueue's Workloads: name scheduling.queue too",
    ),
    "a queue that no label can hold": ({"scheduling": {"queue": "Team A"}}, "spec.scheduling.queue: Invalid value"),
    "missing model": ({"model": None}, "spec.model: Required value"),
    "not an S3 URI": ({"model": {"uri": "/mnt/model"}}, "spec.model.uri: Invalid value"),
    "path traversal": ({"output": {"uri": "s3://team-a/%2e%2e/other"}}, "spec.output.uri: Invalid value"),
    "no training data": ({"data": {"train": []}}, "spec.data.train: Invalid value"),
    "too many data sets": ({"data": {"train": [{"uri": "s3://team-a/x"}] * 17}}, "spec.data.train: Too many"),
    "unknown objective": ({"objective": {"type": "rlhf"}}, "spec.objective.type: Unsupported value"),
    "unknown method": ({"method": {"type": "prefix"}}, "spec.method.type: Unsupported value"),
    "rank out of bounds": ({"method": {"lora": {"rank": 0}}}, "spec.method.lora.rank: Invalid value"),
    "learning rate zero": ({"training": {"learningRate": 0}}, "spec.training.learningRate: Invalid value"),
    "unknown validation metric": (
        {"training": {"validation": {"metric": "bleu"}}},
        "spec.training.validation.metric: Unsupported value",
    ),
    "unknown metric": ({"evaluation": {"metrics": ["bleu"]}}, "spec.evaluation.metrics[0]: Unsupported value"),
    "gpu resource without a domain": ({"resources": {"gpus": {"resourceName": "gpu"}}}, "resourceName: Invalid value"),
    "a benchmark named twice": (
        {"evaluation": {"benchmarks": [{"task": "arc_easy", "uri": "s3://team-a/arc/"}] * 2}},
        "spec.evaluation.benchmarks[1]: Duplicate value",
    ),
    "a benchmark for a model that gives scores": (
        {"objective": {"type": "reward"}, "evaluation": BENCHMARKS},
        "evaluation.benchmarks are asked of a model that writes",
    ),
    "a benchmark for a model that gives labels": (
        {"objective": classify("a", "b"), "evaluation": BENCHMARKS},
        "evaluation.benchmarks are asked of a model that writes",
    ),
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
    "template text under another template": (
        {"data": data(template={"name": "chat", "jinja": "{{ messages }}"})},
        "data.template.jinja and data.template.name jinja go together",
    ),
    "jinja template without its text": (
        {"data": data(template={"name": "jinja"})},
        "data.template.jinja and data.template.name jinja go together",
    ),
    "two training sets of one name": (
        {"data": data(train=[{"uri": "s3://team-a/a", "name": "faq"}, {"uri": "s3://team-a/b", "name": "faq"}])},
        "data.train has two data sets of one name",
    ),
    "two validation sets of one name": (
        {"data": data(validation=[{"uri": "s3://team-a/a", "name": "faq"}] * 2)},
        "data.validation has two data sets of one name",
    ),
    "two test sets of one name": (
        {
            "data": data(
                test=[
                    {"uri": "s3://team-a/a"},
                    {"uri": "s3://team-a/b", "name": "v"},
                    {"uri": "s3://team-a/c", "name": "v"},
                ]
            )
        },
        "data.test has two data sets of one name",
    ),
    "classification without labels": (
        {"objective": {"type": "classification"}},
        "objective.type classification and objective.classification (its labels) go together",
    ),
    "labels without classification": (
        {"objective": {"classification": {"labels": ["good", "bad"]}}},
        "objective.type classification and objective.classification (its labels) go together",
    ),
    "one label": ({"objective": classify("good")}, "objective.classification.labels: Invalid value"),
    "a label twice": ({"objective": classify("good", "bad", "good")}, "labels[2]: Duplicate value"),
    "a blank label": ({"objective": classify("good", " ")}, "labels[1]: Invalid value"),
    "a label with a blank at its end": ({"objective": classify("good ", "bad")}, "labels[0]: Invalid value"),
    "a metric of another objective": (
        {"evaluation": {"metrics": ["exact_match", "accuracy"]}},
        "evaluation.metrics holds one that objective.type does not have",
    ),
    "a generation metric of a classifier": (
        {"objective": classify("good", "bad"), "evaluation": {"metrics": ["rouge_l"]}},
        "evaluation.metrics holds one that objective.type does not have",
    ),
    "a gate on a metric that is not measured": (
        {"evaluation": {"metrics": ["exact_match"], "gates": [{"metric": "token_f1", "value": 0.5}]}},
        "evaluation.gates has one on something that the job does not measure",
    ),
    "a gate on the perplexity of a classifier": (
        {
            "objective": classify("good", "bad"),
            "evaluation": {"gates": [{"metric": "accuracy", "value": 0.5}, {"metric": "perplexity", "value": 9}]},
        },
        "evaluation.gates has one on something that the job does not measure",
    ),
    "a validation metric of another objective": (
        {"training": {"validation": {"metric": "accuracy"}}},
        "training.validation.metric is none of objective.type's",
    ),
    "qlora on the CPU": (
        {"method": {"type": "qlora"}, "resources": {"gpus": {"count": 0}}},
        "method.type qlora needs a GPU",
    ),
    "4-bit weights divided": (
        {"method": {"type": "qlora"}, "resources": {"gpus": {"count": 2}, "parallelism": "fsdp"}},
        "resources.parallelism fsdp cannot divide the 4-bit weights of method.type qlora",
    ),
    "a model divided among one process": (
        {"resources": {"parallelism": "fsdp"}},
        "resources.parallelism fsdp divides a model among several processes",
    ),
    "more nodes than are allowed": ({"resources": {"nodes": 65}}, "spec.resources.nodes: Invalid value"),
    "more GPUs than a node has": ({"resources": {"gpus": {"count": 17}}}, "spec.resources.gpus.count: Invalid value"),
    "a whole model merged": (
        {"method": {"type": "full"}, "output": {"uri": "s3://team-a/out", "merged": True}},
        "output.merged needs a method that trains an adapter",
    ),
    "share of bad rows beyond all": ({"data": data(maxBadShare=1.5)}, "spec.data.maxBadShare: Invalid value"),
    "weight zero": ({"data": data(train=[{"uri": "s3://team-a/a", "weight": 0}])}, "weight: Invalid value"),
    "more shared memory than memory": (
        {"resources": {"memory": "1Gi", "sharedMemory": "1100M"}},
        "resources.sharedMemory is a part of resources.memory and must not exceed it",
    ),
    "an affinity without its values": (affinity(operator="In"), "In and NotIn take one or more values"),
    "an affinity with values too many": (affinity(operator="Exists", values=["a"]), "DoesNotExist none"),
    "an affinity that compares words": (affinity(operator="Gt", values=["a"]), "Gt and Lt one whole number"),
    "an affinity with an unknown operator": (affinity(operator="Like"), "operator: Unsupported value"),
    "an annotation that no scheduler reads": (
        {"scheduling": {"annotations": {"sidecar.istio.io/inject": "true"}}},
        "scheduling.annotations takes those of schedulers alone",
    ),
    "an annotation that a device plugin reads": (
        {"scheduling": {"annotations": {"volcano.sh/vgpu-number": "8"}}},
        "scheduling.annotations takes those of schedulers alone",
    ),
    "an annotation of Kueue that is not about topology": (
        {"scheduling": {"annotations": {"kueue.x-k8s.io/queue-name": "other"}}},
        "scheduling.annotations takes those of schedulers alone",
    ),
    "a topology told twice": (
        {"scheduling": {"topology": {"key": "rack"}, "annotations": {"kueue.x-k8s.io/podset-required-topology": "a"}}},
        "scheduling.topology and an annotation kueue.x-k8s.io/podset-... say the same",
    ),
    "node selector key": (
        {"scheduling": {"nodeSelector": {"-bad": "x"}}},
        "scheduling.nodeSelector has a key that is not a label key",
    ),
}

# Specs with what a rule is about, within the rule.
SOUND: dict[str, dict[str, Any]] = {
    "a template of one's own": {"data": data(template={"name": "jinja", "jinja": "{{ messages }}"})},
    "a step of one micro-batch": {"training": {"microBatchTokens": 64, "tokensPerStep": 64}},
    "a micro-batch alone": {"training": {"microBatchTokens": 64}},
    "one name on both sides": {
        "data": data(
            train=[
                {"uri": "s3://team-a/a", "name": "faq"},
                {"uri": "s3://team-a/b", "name": "chat"},
                {"uri": "s3://team-a/c"},
            ],
            test=[{"uri": "s3://team-a/d", "name": "faq"}],
        )
    },
    "a classifier": {
        "objective": classify("very good", "bad", *(f"class {n}" for n in range(998))),
        "evaluation": {"metrics": ["accuracy", "f1"]},
    },
    "raw text": {"objective": {"type": "continued-pretraining"}, "evaluation": {"metrics": []}},
    "preference": {"objective": {"type": "preference"}, "evaluation": {"metrics": ["pair_accuracy"]}},
    "reward": {"objective": {"type": "reward"}, "evaluation": {"metrics": ["pair_accuracy"]}},
    "gates": {
        "evaluation": {
            "benchmarks": [{"task": "arc_easy", "uri": "s3://team-a/arc"}],
            "gates": [
                {"metric": "token_f1", "value": 0.05, "relativeTo": "baseline", "use": "bound"},
                {"metric": "loss", "op": "<", "value": 1.5},
                {"metric": "perplexity", "op": "<=", "value": 20},
                {"metric": "arc_easy", "value": -0.02, "relativeTo": "baseline"},
            ],
        }
    },
    "a gate on a metric that is asked for": {
        "evaluation": {"metrics": ["chrf"], "gates": [{"metric": "chrf", "value": 30}] * 16}
    },
    "benchmarks of a classifier that writes": {
        "objective": {"type": "classification", "classification": {"labels": ["a", "b"], "variant": "generative"}},
        "evaluation": BENCHMARKS,
    },
    "benchmarks": {"evaluation": BENCHMARKS},
    "qlora on a GPU": {"method": {"type": "qlora"}},
    "an adapter merged": {"method": {"type": "dora"}, "output": {"uri": "s3://team-a/out", "merged": True}},
    "lora on the CPU": {"method": {"type": "lora"}, "resources": {"gpus": {"count": 0}}},
    "as much shared memory as memory": {"resources": {"memory": "1Gi", "sharedMemory": "1024Mi"}},
    "a place among nodes": {
        "scheduling": {
            "nodeAffinity": [
                {"key": "nvidia.com/gpu.memory", "operator": "Gt", "values": ["40000"]},
                {"key": "example.com/broken", "operator": "DoesNotExist"},
            ],
            "topology": {"key": "topology.kubernetes.io/zone", "required": True},
            "schedulerName": "volcano",
            "annotations": {"scheduling.volcano.sh/queue-name": "gold", "scheduling.k8s.io/group-name": "tunes"},
        }
    },
    "a topology that Kueue is told in its own words": {
        "scheduling": {"annotations": {"kueue.x-k8s.io/podset-unconstrained-topology": "true"}}
    },
    "a model divided among the GPUs of a node": {"resources": {"gpus": {"count": 8}, "parallelism": "fsdp"}},
    "a model divided among nodes": {"resources": {"nodes": 2, "gpus": {"count": 0}, "parallelism": "fsdp"}},
    "quarantine": {"data": data(onBadRow="quarantine", maxBadShare=0.1, showRows=False)},
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


@pytest.mark.parametrize("spec", SOUND.values(), ids=SOUND.keys())
def test_a_sound_spec_is_accepted_and_parsed(team: Kubectl, spec: dict[str, Any]) -> None:
    name = f"sound-{list(SOUND.values()).index(spec)}"
    job = sample(**spec) | {"metadata": {"name": name}}
    team.apply(job)
    assert (stored := team.get("ftj", name))
    assert FinetuneJobSpec.model_validate(stored["spec"]) == FinetuneJobSpec.model_validate(job["spec"])


def test_the_order_of_labels_cannot_change(team: Kubectl) -> None:
    """It numbers the classes, and a set in CEL has no order."""
    name = {"metadata": {"name": "labels"}}
    team.apply(sample(objective=classify("good", "bad")) | name)
    with pytest.raises(KubectlError) as refused:
        team.apply(sample(objective=classify("bad", "good")) | name)
    assert "the order of objective.classification.labels is immutable" in refused.value.stderr


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
    assert stored["spec"]["method"]["lora"]["dropout"] == 0
    assert "rank" not in stored["spec"]["method"]["lora"]


def test_every_rule_has_a_violating_object() -> None:
    tested = {says for _, says in VIOLATIONS.values()} | {f"spec.{name} is immutable" for name in FIXED}
    tested.add("the order of objective.classification.labels is immutable")
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
