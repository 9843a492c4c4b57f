"""What the platform team's settings put into every pod: pull secrets, a proxy, an authority, labels."""

from typing import Any

import cluster_objects as o
import pytest

from finetune_api.names import Kind
from finetune_api.request import TrainerRequest
from finetune_operator.manifests.job import child_job
from finetune_operator.observe import parse_finetune_job
from finetune_operator.settings import Settings

KINDS: tuple[Kind, ...] = ("preflight", "train", "cleanup")
LABELS = {"app.kubernetes.io/managed-by": "finetune-operator", "finetune.dev/job": o.NAME}


def template(kind: Kind, spec: o.Raw | None = None, **settings: Any) -> Any:
    job = parse_finetune_job(o.finetune_job(spec))
    assert job.spec is not None, job.spec_error
    request = TrainerRequest(kind=kind, namespace="n", name="n", uid="u", spec=job.spec, spec_digest="d")
    return child_job(job, job.spec, request, "image", Settings(trainer_image="image", **settings))["spec"]["template"]


def variables(kind: Kind, **settings: Any) -> dict[str, str]:
    return {item["name"]: item["value"] for item in template(kind, **settings)["spec"]["containers"][0]["env"]}


def authorities(spec: o.Raw, **settings: Any) -> list[Any]:
    return [v["configMap"] for v in template("train", spec, **settings)["spec"]["volumes"] if v["name"] == "s3-ca"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_pod_is_pulled_with_the_platforms_secrets_and_else_with_those_of_its_account(kind: Kind) -> None:
    named = template(kind, image_pull_secrets=("registry", "mirror"))["spec"]
    assert named["imagePullSecrets"] == [{"name": "registry"}, {"name": "mirror"}]
    assert "imagePullSecrets" not in template(kind)["spec"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_pod_knows_the_proxy(kind: Kind) -> None:
    with_proxy = variables(kind, https_proxy="http://proxy:3128", no_proxy=".svc")
    assert with_proxy.items() - variables(kind).items() == {("HTTPS_PROXY", "http://proxy:3128"), ("NO_PROXY", ".svc")}


def test_a_jobs_own_authority_wins_over_the_platforms() -> None:
    platform = {"ca_config_map": "platform-ca", "ca_key": "bundle.pem"}
    own = {"storage": {"caBundle": {"configMapName": "team-ca"}}}
    assert authorities({}, **platform) == [{"name": "platform-ca", "items": [{"key": "bundle.pem", "path": "ca.crt"}]}]
    assert authorities(own, **platform) == [{"name": "team-ca", "items": [{"key": "ca.crt", "path": "ca.crt"}]}]
    assert authorities({}) == []


@pytest.mark.parametrize("kind", KINDS)
def test_labels_and_annotations_are_added_to_our_own(kind: Kind) -> None:
    plain = template(kind)["metadata"]
    noted = template(
        kind,
        pod_labels=(("cost", "research"), ("finetune.dev/job", "another")),
        pod_annotations=(("sidecar.istio.io/inject", "false"), ("karpenter.sh/do-not-disrupt", "false")),
    )["metadata"]
    assert noted["labels"] == {"cost": "research", **plain["labels"]}
    assert noted["labels"].items() >= LABELS.items()
    own = plain.get("annotations", {})
    assert noted["annotations"] == {
        "sidecar.istio.io/inject": "false", "karpenter.sh/do-not-disrupt": "false", **own
    }  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_the_cluster_may_choose_the_user_who_is_never_root(kind: Kind) -> None:
    assert template(kind)["spec"]["securityContext"]["runAsUser"] == 65532
    chosen = template(kind, fixed_user=False)["spec"]["securityContext"]
    assert chosen == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
