"""Child Jobs: a FinetuneJob in, the Job out, as pairs of files."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import cluster_objects as o
import pytest
import yaml

from finetune_api.digest import spec_digest
from finetune_api.exit_codes import RULES
from finetune_api.names import METRICS_PORT_NAME, METRICS_PORT_VARIABLE
from finetune_api.request import ENVIRONMENT_VARIABLE, TrainerRequest
from finetune_operator.manifests.job import child_job, failure_rules
from finetune_operator.observe import parse_finetune_job
from finetune_operator.settings import Settings

DATA = Path(__file__).parent / "data"
CASES = sorted(path.name.removesuffix(".spec.yaml") for path in DATA.glob("*.spec.yaml"))
SETTINGS = Settings(trainer_image="registry.test/trainer@sha256:1")


def build(spec: dict[str, Any], kind: Any, settings: Settings = SETTINGS) -> dict[str, Any]:
    job = parse_finetune_job(o.finetune_job(spec))
    assert job.spec is not None, job.spec_error
    request = TrainerRequest(
        kind=kind,
        namespace=o.NAMESPACE,
        name=o.NAME,
        uid=o.UID,
        spec=job.spec,
        spec_digest=spec_digest(job.spec),
        data_digest="sha256:abc" if kind == "train" else None,
    )
    return child_job(job, job.spec, request, settings.trainer_image, settings)


def container(manifest: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = manifest["spec"]["template"]["spec"]["containers"][0]
    return found


@pytest.mark.parametrize("case", CASES)
def test_the_job_is_the_expected_one(case: str) -> None:
    made = build(yaml.safe_load((DATA / f"{case}.spec.yaml").read_text()), case.partition("-")[0])
    environment = container(made)["env"]
    # Compared on its own below: one long line would hide every other difference.
    assert environment.pop(0)["name"] == ENVIRONMENT_VARIABLE
    assert made == yaml.safe_load((DATA / f"{case}.job.yaml").read_text())


@pytest.mark.parametrize("case", CASES)
def test_the_request_arrives_as_it_was_sent(case: str) -> None:
    spec = yaml.safe_load((DATA / f"{case}.spec.yaml").read_text())
    text = container(build(spec, case.partition("-")[0]))["env"][0]["value"]
    request = TrainerRequest.model_validate_json(text)
    assert request.spec_digest == spec_digest(request.spec)
    assert json.loads(text)["spec"]["output"]["uri"] == "s3://out/tune"


def expanded(value: str) -> str:
    """What the kubelet makes of a variable's value (k8s.io/kubernetes/third_party/forked/golang/expansion)."""
    return re.sub(r"\$(?:\$|\((?P<name>[^)]*)\))", lambda found: "$" if found["name"] is None else "EXPANDED", value)


def test_nothing_in_a_spec_is_a_variable_to_the_kubelet() -> None:
    system = "$(KUBERNETES_SERVICE_HOST) $$(HOME) $$ costs $5 $"
    text = container(build({"data": {**o.SPEC["data"], "template": {"system": system}}}, "train"))["env"][0]["value"]
    assert "EXPANDED" in expanded(system), "the trap is none"
    request = TrainerRequest.model_validate_json(expanded(text))
    assert request.spec.data.template.system == system
    assert request.spec_digest == spec_digest(request.spec)


def test_every_rule_is_in_the_failure_policy_or_left_to_the_retry_limit() -> None:
    disruption, *by_code = failure_rules()
    assert disruption == {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
    actions = {code: rule["action"] for rule in by_code for code in rule["onExitCodes"]["values"]}
    assert actions == {int(rule.code): rule.action for rule in RULES if rule.action != "Count" and rule.code}


def test_a_secret_is_named_and_never_a_variable() -> None:
    made = build({"storage": {"credentials": {"secretName": "keys"}}}, "train")
    assert {item["name"] for item in container(made)["env"]} == {ENVIRONMENT_VARIABLE, "HOME"}
    assert not any("valueFrom" in item for item in container(made)["env"])


def test_a_training_pod_is_scraped_where_the_platform_asks_for_it_and_preflight_never() -> None:
    settings = replace(SETTINGS, trainer_metrics_port=9464)
    training, preflight = (container(build({}, kind, settings)) for kind in ("train", "preflight"))
    assert training["ports"] == [{"name": METRICS_PORT_NAME, "containerPort": 9464}]
    assert {"name": METRICS_PORT_VARIABLE, "value": "9464"} in training["env"]
    assert "ports" not in preflight
    assert METRICS_PORT_VARIABLE not in {item["name"] for item in preflight["env"]}


def test_a_training_pod_has_time_to_save_what_preflight_estimated_and_preflight_needs_none() -> None:
    estimate = {"memory": "1Gi", "steps": 1, "tokens": 1, "checkpointBytes": 15_000_000_000}
    raw = o.finetune_job({}, status={"estimate": estimate})
    job = parse_finetune_job(raw)
    assert job.spec is not None
    request = TrainerRequest(kind="train", namespace="n", name="n", uid="u", spec=job.spec, spec_digest="d")
    for kind, seconds in (("train", 1560), ("preflight", 120)):
        made = child_job(job, job.spec, request.model_copy(update={"kind": kind}), "image", SETTINGS)
        assert made["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == seconds


def test_preflight_and_training_wait_in_queues_of_their_own_which_their_pods_do_not_name() -> None:
    settings = Settings(trainer_image="any", preflight_queue="checks", kueue=True)
    spec = {"scheduling": {"queue": "gpus", "workloadPriorityClass": "urgent"}}
    checking, training = build(spec, "preflight", settings), build(spec, "train", settings)
    kueue = {
        kind: {name: value for name, value in made["metadata"]["labels"].items() if "kueue" in name}
        for kind, made in (("checking", checking), ("training", training))
    }
    assert kueue == {
        "checking": {"kueue.x-k8s.io/queue-name": "checks"},
        "training": {"kueue.x-k8s.io/queue-name": "gpus", "kueue.x-k8s.io/priority-class": "urgent"},
    }
    for made in (checking, training):
        assert made["spec"]["suspend"] is True
        assert not any("kueue" in name for name in made["spec"]["template"]["metadata"]["labels"])


def test_a_job_in_no_queue_is_not_suspended_at_creation() -> None:
    for kind in ("preflight", "train"):
        assert "suspend" not in build({}, kind)["spec"]
