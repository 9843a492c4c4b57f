"""The chart renders by real Helm: same bytes twice, schema violations named, exactly the rights that are needed."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from finetune_api.crd import custom_resource_definition
from finetune_operator.rights import RIGHTS
from localcluster.layout import cache_root

CHART = Path(__file__).resolve().parents[2] / "charts" / "finetune-operator"
pytestmark = pytest.mark.cluster  # Helm is compiled together with the local cluster.


def helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(cache_root() / "bin" / "helm"), *arguments, "--kube-version", "1.34.0"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def render(*options: str) -> list[dict[str, Any]]:
    done = helm("template", "release", str(CHART), "--namespace", "system", *options)
    assert done.returncode == 0, done.stderr
    return [item for item in yaml.safe_load_all(done.stdout) if item]


def one(kind: str, *options: str) -> dict[str, Any]:
    (found,) = [item for item in render(*options) if item["kind"] == kind]
    return found


def test_lint_is_strict_clean() -> None:
    done = helm("lint", "--strict", str(CHART))
    assert done.returncode == 0, done.stdout


def test_two_renderings_are_the_same_bytes() -> None:
    first, second = (helm("template", "release", str(CHART)).stdout for _ in range(2))
    assert first == second


def test_the_crd_is_the_one_the_models_say() -> None:
    assert one("CustomResourceDefinition") == custom_resource_definition()


def test_the_crd_can_be_left_out() -> None:
    assert not [i for i in render("--set", "crds.enabled=false") if i["kind"] == "CustomResourceDefinition"]


def test_the_operator_has_exactly_the_rights_it_checks_for_at_start() -> None:
    roles = {item["metadata"]["name"]: item for item in render() if item["kind"] == "ClusterRole"}
    rules = roles["release-finetune-operator"]["rules"]
    given = {(g, r, tuple(x["verbs"])) for x in rules for g in x["apiGroups"] for r in x["resources"]}
    assert given == {(right.group, right.resource, right.verbs) for right in RIGHTS}


def test_the_pod_is_restricted() -> None:
    pod = one("Deployment")["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    container = pod["containers"][0]["securityContext"]
    assert container == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_there_is_never_a_second_operator() -> None:
    deployment = one("Deployment")["spec"]
    assert (deployment["replicas"], deployment["strategy"]) == (1, {"type": "Recreate"})


def test_a_digest_wins_over_the_tag() -> None:
    digest = "sha256:" + "a" * 64
    pod = one("Deployment", "--set", f"image.digest={digest}")["spec"]["template"]["spec"]
    assert pod["containers"][0]["image"] == f"finetune-operator@{digest}"


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("trainer.imgae=x", "imgae"),
        ("logLevel=loud", "logLevel"),
        ("image.digest=latest", "digest"),
        ("crds.enabled=maybe", "enabled"),
    ],
)
def test_a_wrong_value_is_refused_and_named(setting: str, says: str) -> None:
    done = helm("template", "release", str(CHART), "--set", setting)
    assert done.returncode != 0
    assert says in done.stderr
