"""The chart renders by real Helm: same bytes twice, schema violations named, exactly the rights that are needed."""

import subprocess
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml

from finetune_api.crd import custom_resource_definition
from finetune_operator.rights import KUEUE, LEASE, NODES, RIGHTS, Right
from finetune_operator.settings import ENVIRONMENT_PREFIX, Settings, read_settings
from localcluster.layout import cache_root

CHART = Path(__file__).resolve().parents[2] / "charts" / "finetune-operator"
pytestmark = pytest.mark.cluster  # Helm is compiled together with the local cluster.

LEASE_OF_THE_RELEASE = ("system", "release-finetune-operator")


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


def named(kind: str, *options: str) -> dict[str, dict[str, Any]]:
    return {item["metadata"]["name"]: item for item in render(*options) if item["kind"] == kind}


def settings(*options: str) -> Settings:
    """What the operator reads from the environment that the chart gives it, and from nothing else."""
    container = one("Deployment", *options)["spec"]["template"]["spec"]["containers"][0]
    return read_settings([], {item["name"]: item["value"] for item in container["env"]})


def granted(role: dict[str, Any]) -> set[Right]:
    return {
        Right(group=group, resource=resource, verbs=tuple(rule["verbs"]))
        for rule in role.get("rules", [])
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }


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
    roles = named("ClusterRole")
    assert granted(roles["release-finetune-operator"]) == set(RIGHTS)
    assert not any("nodes" in rule["resources"] for role in roles.values() for rule in role["rules"])


def test_kueue_is_looked_at_only_when_asked_for() -> None:
    roles = named("ClusterRole", "--set", "kueue.enabled=true")
    assert granted(roles["release-finetune-operator"]) == {*RIGHTS, *KUEUE}


def test_nodes_are_listed_only_when_asked_for_and_whatever_namespaces_are_served() -> None:
    options = ("--set", "rbac.nodes=true", "--set", "settings.namespaces={team-a}")
    assert granted(named("ClusterRole", *options)["release-finetune-operator-nodes"]) == {NODES}
    assert set(named("ClusterRoleBinding", *options)) == {"release-finetune-operator-nodes"}


def test_an_operator_of_some_namespaces_has_its_rights_in_these_alone() -> None:
    made = render("--set", "settings.namespaces={team-a,team-b}")
    bindings = [item for item in made if item["kind"] == "RoleBinding" and item["roleRef"]["kind"] == "ClusterRole"]
    assert [item["metadata"]["namespace"] for item in bindings] == ["team-a", "team-b"]
    assert {item["roleRef"]["name"] for item in bindings} == {"release-finetune-operator"}
    assert not [item for item in made if item["kind"] == "ClusterRoleBinding"]


def test_replicas_may_keep_a_lease_beside_the_operator_and_nowhere_else() -> None:
    (role,) = [item for item in render("--set", "settings.namespaces={team-a}") if granted(item) & {LEASE}]
    assert (role["kind"], role["metadata"]["namespace"], granted(role)) == ("Role", "system", {LEASE})


def test_the_chart_gives_every_setting_of_the_operator_and_no_other() -> None:
    container = one("Deployment")["spec"]["template"]["spec"]["containers"][0]
    names = [item["name"] for item in container["env"]]
    assert sorted(names) == sorted(ENVIRONMENT_PREFIX + setting.name.upper() for setting in fields(Settings))


def test_defaults_of_the_chart_are_those_of_the_operator() -> None:
    assert settings() == Settings(trainer_image="finetune-trainer:0.1.0", lease=LEASE_OF_THE_RELEASE)


def test_every_setting_arrives_as_it_was_given(tmp_path: Path) -> None:
    values = {
        "trainer": {"image": "registry.test/trainer:1"},
        "preflight": {"cpu": "500m", "memory": "3Gi", "scratch": "1Ti", "queue": "checks"},
        "kueue": {"enabled": True, "queueSeconds": 7},
        "logLevel": "debug",
        "settings": {
            "namespaces": ["team-a", "team-b"],
            "gpuMemory": {"nvidia.com/gpu": "80Gi", "example.com/gpu": "24G"},
            "workers": 3,
            "requestsPerSecond": 7.5,
            "resyncSeconds": 100000,
            "progressSeconds": 0.5,
            "progressPerSecond": 1,
            "port": 9090,
        },
    }
    (tmp_path / "values.yaml").write_text(yaml.safe_dump(values))
    options = ("--values", str(tmp_path / "values.yaml"))
    assert settings(*options) == Settings(
        trainer_image="registry.test/trainer:1",
        lease=LEASE_OF_THE_RELEASE,
        preflight_cpu="500m",
        preflight_memory="3Gi",
        preflight_scratch="1Ti",
        preflight_queue="checks",
        kueue=True,
        queue_seconds=7.0,
        log_level="DEBUG",
        namespaces=("team-a", "team-b"),
        gpu_memory=(("example.com/gpu", 24 * 10**9), ("nvidia.com/gpu", 80 * 2**30)),
        workers=3,
        requests_per_second=7.5,
        resync_seconds=100000.0,
        progress_seconds=0.5,
        progress_per_second=1.0,
        port=9090,
    )
    assert one("Service", *options)["spec"]["ports"][0]["port"] == 9090
    container = one("Deployment", *options)["spec"]["template"]["spec"]["containers"][0]
    assert container["ports"] == [{"name": "http", "containerPort": 9090}]


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
        ("rbac.nodes=perhaps", "nodes"),
        ("settings.wokers=3", "wokers"),
        ("settings.workers=0", "workers"),
        ("settings.resyncSeconds=0", "resyncSeconds"),
        ("settings.port=80", "port"),
        ("settings.gpuMemory.gpu=80GB", "gpuMemory"),
        ("settings.namespaces={Team_A}", "namespaces"),
        ("preflight.memory=2GB", "memory"),
        ("preflight.queue=My Queue", "queue"),
        ("preflight.queue=checks", "kueue"),
        ("kueue.enabled=perhaps", "enabled"),
    ],
)
def test_a_wrong_value_is_refused_and_named(setting: str, says: str) -> None:
    done = helm("template", "release", str(CHART), "--set", setting)
    assert done.returncode != 0
    assert says in done.stderr
