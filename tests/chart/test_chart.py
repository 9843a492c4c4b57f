"""The chart renders by real Helm: same bytes twice, schema violations named, exactly the rights that are needed."""

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml
from rendered_chart import CHART, NAME, helm, named, one, operator_pod, render, template

from finetune_api.crd import custom_resource_definition
from finetune_operator.rights import KUEUE, LEASE, NODES, RIGHTS, Right
from finetune_operator.settings import ENVIRONMENT_PREFIX, Settings, read_settings

pytestmark = pytest.mark.cluster  # Helm is compiled together with the local cluster.

LEASE_OF_THE_RELEASE = ("system", "release-finetune-operator")


def settings(*options: str) -> Settings:
    """What the operator reads from the environment that the chart gives it, and from nothing else."""
    container = operator_pod(*options)["containers"][0]
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
    assert first
    assert first == second
    for path in (CHART / "templates").rglob("*"):
        # What depends on a cluster, the time or chance renders otherwise where Argo CD renders.
        words = set(re.findall(r"\w+", path.read_text())) if path.is_file() else set()
        assert not words & {"lookup", "now", "date", "uuidv4", "genCA", "genSignedCert", "IsUpgrade", "IsInstall"}, path


def test_the_crd_is_the_one_the_models_say() -> None:
    assert one("CustomResourceDefinition") == custom_resource_definition()


def test_the_crd_can_be_left_out() -> None:
    assert not [i for i in render("--set", "crds.enabled=false") if i["kind"] == "CustomResourceDefinition"]


def test_the_operator_has_exactly_the_rights_it_checks_for_at_start() -> None:
    roles = named("ClusterRole")
    assert granted(roles[NAME]) == set(RIGHTS)
    assert not any("nodes" in rule["resources"] for role in roles.values() for rule in role["rules"])


def test_kueue_is_looked_at_only_when_asked_for() -> None:
    roles = named("ClusterRole", "--set", "kueue.enabled=true")
    assert granted(roles[NAME]) == {*RIGHTS, *KUEUE}


def test_nodes_are_listed_only_when_asked_for_and_whatever_namespaces_are_served() -> None:
    options = ("--set", "rbac.nodes=true", "--set", "settings.namespaces={team-a}")
    assert granted(named("ClusterRole", *options)[f"{NAME}-nodes"]) == {NODES}
    assert set(named("ClusterRoleBinding", *options)) == {f"{NAME}-nodes"}


def test_an_operator_of_some_namespaces_has_a_role_in_each_and_nothing_in_the_cluster() -> None:
    made = render("--set", "settings.namespaces={team-a,team-b}", "--set", "rbac.aggregate=false")
    here = [item for item in made if item["metadata"].get("namespace") != "system"]
    roles = [item for item in here if item["kind"] == "Role"]
    bindings = [item for item in here if item["kind"] == "RoleBinding"]
    assert [item["metadata"]["namespace"] for item in roles] == ["team-a", "team-b"]
    assert [item["metadata"]["namespace"] for item in bindings] == ["team-a", "team-b"]
    assert [granted(role) for role in roles] == [set(RIGHTS)] * 2
    assert {(item["roleRef"]["kind"], item["roleRef"]["name"]) for item in bindings} == {("Role", NAME)}
    assert not [item for item in made if item["kind"].startswith("Cluster")]


def test_without_the_crd_a_namespaced_install_makes_no_object_of_the_whole_cluster() -> None:
    made = render(
        "--set", "settings.namespaces={team-a}", "--set", "rbac.aggregate=false", "--set", "crds.enabled=false"
    )
    assert {item["metadata"].get("namespace") for item in made} == {"system", "team-a"}


def test_users_roles_reach_jobs_and_never_write_their_status() -> None:
    roles = {
        name.removeprefix(f"{NAME}-"): granted(role) for name, role in named("ClusterRole").items() if name != NAME
    }
    read, write = ("get", "list", "watch"), ("create", "update", "patch", "delete", "deletecollection")
    jobs = Right(group="finetune.dev", resource="finetunejobs", verbs=read)
    status = Right(group="finetune.dev", resource="finetunejobs/status", verbs=read)
    assert roles == {"view": {jobs, status}, "edit": {Right(group=jobs.group, resource=jobs.resource, verbs=write)}}


def test_replicas_may_keep_a_lease_beside_the_operator_and_nowhere_else() -> None:
    (role,) = [item for item in render("--set", "settings.namespaces={team-a}") if granted(item) & {LEASE}]
    assert (role["kind"], role["metadata"]["namespace"], granted(role)) == ("Role", "system", {LEASE})


def test_the_chart_gives_every_setting_of_the_operator_and_no_other() -> None:
    container = operator_pod()["containers"][0]
    names = [item["name"] for item in container["env"]]
    assert sorted(names) == sorted(ENVIRONMENT_PREFIX + setting.name.upper() for setting in fields(Settings))


def test_defaults_of_the_chart_are_those_of_the_operator() -> None:
    assert settings() == Settings(trainer_image="finetune-trainer:0.1.0", lease=LEASE_OF_THE_RELEASE)


def test_every_setting_arrives_as_it_was_given(tmp_path: Path) -> None:
    values = {
        "trainer": {
            "image": {"repository": "registry.test/trainer", "tag": "1"},
            "imagePullSecrets": [{"name": "registry"}, {"name": "mirror"}],
            "podLabels": {"cost": "research", "billed": "true"},
            "podAnnotations": {"sidecar.istio.io/inject": "false", "odd": 'a=b, "c" {d}'},
        },
        "fixedUser": False,
        "proxy": {"httpProxy": "http://proxy:3128", "httpsProxy": "https://proxy:3129/", "noProxy": ".svc,10.0.0.0/8"},
        "caBundle": {"configMapName": "platform-ca", "key": "bundle.pem"},
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
        "monitoring": {"podMonitor": {"enabled": True, "port": 9500}},
    }
    (tmp_path / "values.yaml").write_text(yaml.safe_dump(values))
    options = ("--values", str(tmp_path / "values.yaml"))
    assert settings(*options) == Settings(
        trainer_image="registry.test/trainer:1",
        lease=LEASE_OF_THE_RELEASE,
        image_pull_secrets=("registry", "mirror"),
        pod_labels=(("billed", "true"), ("cost", "research")),
        pod_annotations=(("odd", 'a=b, "c" {d}'), ("sidecar.istio.io/inject", "false")),
        fixed_user=False,
        http_proxy="http://proxy:3128",
        https_proxy="https://proxy:3129/",
        no_proxy=".svc,10.0.0.0/8",
        ca_config_map="platform-ca",
        ca_key="bundle.pem",
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
        trainer_metrics_port=9500,
    )
    assert one("Service", *options)["spec"]["ports"][0]["port"] == 9090
    container = operator_pod(*options)["containers"][0]
    assert container["ports"] == [{"name": "http", "containerPort": 9090}]


@pytest.mark.parametrize("kind", ["operator", "test"])
def test_every_pod_of_the_chart_is_restricted(kind: str) -> None:
    pod = operator_pod() if kind == "operator" else one("Pod")["spec"]
    assert pod["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 65532,
        "runAsGroup": 65532,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert pod["containers"][0]["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


@pytest.mark.parametrize("kind", ["operator", "test"])
def test_the_cluster_may_choose_the_user(kind: str) -> None:
    options = ("--set", "fixedUser=false")
    pod = operator_pod(*options) if kind == "operator" else one("Pod", *options)["spec"]
    assert pod["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}


def test_the_test_pod_has_no_identity_and_is_selected_by_nothing_of_the_operators() -> None:
    pod = one("Pod")
    assert pod["spec"]["automountServiceAccountToken"] is False
    selector = one("Deployment")["spec"]["selector"]["matchLabels"]
    assert not selector.items() <= pod["metadata"]["labels"].items()


def test_one_replica_has_no_budget_that_would_hold_its_node() -> None:
    assert [item for item in render() if item["kind"] == "PodDisruptionBudget"] == []
    assert "topologySpreadConstraints" not in operator_pod()


def test_several_replicas_are_spread_and_drained_one_at_a_time() -> None:
    several = ("--set", "replicas=3")
    deployment = one("Deployment", *several)["spec"]
    assert deployment["replicas"] == 3
    pods = {"matchLabels": deployment["selector"]["matchLabels"]}
    budget = one("PodDisruptionBudget", *several)["spec"]
    assert (budget["maxUnavailable"], budget["selector"]) == (1, pods)
    spread = operator_pod(*several)["topologySpreadConstraints"]
    assert [each["topologyKey"] for each in spread] == ["kubernetes.io/hostname", "topology.kubernetes.io/zone"]
    # A cluster of one node, or one zone, takes them all the same.
    assert all((each["labelSelector"], each["whenUnsatisfiable"]) == (pods, "ScheduleAnyway") for each in spread)


def test_spread_and_budget_can_be_left_to_somebody_else() -> None:
    options = ("--set", "replicas=2", "--set", "podDisruptionBudget.enabled=false", "--set-json", "topologySpread=[]")
    assert [item for item in render(*options) if item["kind"] == "PodDisruptionBudget"] == []
    assert "topologySpreadConstraints" not in operator_pod(*options)


def test_an_upgrade_starts_the_new_operator_before_the_old_one_stops() -> None:
    strategy = one("Deployment")["spec"]["strategy"]
    assert strategy == {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}


def images(*options: str) -> set[str]:
    """Every image that the chart's pods and the operator's pods run."""
    pods = [operator_pod(*options), one("Pod", *options)["spec"]]
    containers = [container for pod in pods for container in pod["containers"]]
    told = {item["value"] for each in containers for item in each.get("env", []) if item["name"].endswith("_IMAGE")}
    return {container["image"] for container in containers} | told


def test_the_list_of_images_is_complete() -> None:
    assert images() == set((CHART / "images.txt").read_text().split())


def test_one_value_moves_every_image_to_another_registry() -> None:
    moved = {f"registry.test:5000/mirror/{image}" for image in images()}
    assert images("--set", "imageRegistry=registry.test:5000/mirror") == moved


@pytest.mark.parametrize("image", ["image", "trainer.image"])
def test_a_digest_wins_over_the_tag(image: str) -> None:
    digest = "sha256:" + "a" * 64
    options = ("--set", f"{image}.digest={digest}", "--set", f"{image}.tag=x", "--set", f"{image}.repository=r/i")
    assert f"r/i@{digest}" in images(*options)


def test_pull_secrets_reach_both_pods_of_the_chart() -> None:
    options = ("--set", "imagePullSecrets[0].name=registry")
    assert operator_pod(*options)["imagePullSecrets"] == [{"name": "registry"}]
    assert one("Pod", *options)["spec"]["imagePullSecrets"] == [{"name": "registry"}]


def test_common_labels_are_on_every_object_and_those_of_the_pod_on_the_pod() -> None:
    made = render("--set", "commonLabels.owner=platform", "--set", "crds.enabled=false")
    assert all(item["metadata"]["labels"]["owner"] == "platform" for item in made)
    template = one("Deployment", "--set", "podLabels.tier=1st", "--set-string", r"podAnnotations.scrape\.io/port=8080")[
        "spec"
    ]["template"]["metadata"]
    assert template["labels"]["tier"] == "1st"
    assert template["annotations"] == {"scrape.io/port": "8080"}


def test_where_the_operator_pod_runs_is_the_platforms_choice() -> None:
    pod = operator_pod(
        "--set", "priorityClassName=system-cluster-critical", "--set", "nodeSelector.pool=system",
        "--set", "tolerations[0].key=system",
    )  # fmt: skip
    assert pod["priorityClassName"] == "system-cluster-critical"
    assert pod["nodeSelector"] == {"pool": "system"}
    assert pod["tolerations"] == [{"key": "system"}]


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("trainer.imgae=x", "imgae"),
        ("trainer.image=x:1", "'/trainer/image': got string, want object"),
        ("trainer.image.repository=x:1", "put it into trainer.image.tag or trainer.image.digest"),
        ("image.repository=x@sha256:1", "put it into image.tag or image.digest"),
        ("image.pullPolicy=Sometimes", "'Always', 'IfNotPresent', 'Never'"),
        ("imageRegistry=https://registry.test", "leave out the https://"),
        ("imagePullSecrets={registry}", "'/imagePullSecrets/0': got string, want object"),
        ("trainer.imagePullSecrets[0].name=My_Secret", "/trainer/imagePullSecrets/0/name"),
        ("trainer.podLabels.a=-b", "/trainer/podLabels/a"),
        (r"trainer.podLabels.finetune\.dev/job=x", "trainer.podLabels: the label finetune.dev/job is"),
        (r"podLabels.app\.kubernetes\.io/name=x", "podLabels: the label app.kubernetes.io/name is"),
        (r"commonLabels.helm\.sh/chart=x", "commonLabels: the label helm.sh/chart is"),
        ("podAnnotations.a=1", "'/podAnnotations/a': got number, want string"),
        ("proxy.httpsProxy=proxy:3128", "/proxy/httpsProxy"),
        ("proxy.httpProxy=http://me:secret@proxy", "proxy.httpProxy holds a user or password"),
        ("caBundle.key=", "/caBundle/key"),
        ("rbac.aggregate=perhaps", "/rbac/aggregate"),
        ("priorityClassName=High", "/priorityClassName"),
        ("replicas=-1", "'/replicas': minimum: got -1, want 0"),
        ("podDisruptionBudget.enabled=1", "'/podDisruptionBudget/enabled': got number, want boolean"),
        ("topologySpread={a,a}", "/topologySpread"),
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
        ("preflight.queue=checks", "kueue.enabled is false: set it to true"),
        ("kueue.enabled=perhaps", "enabled"),
    ],
)
def test_a_wrong_value_is_refused_and_named(setting: str, says: str) -> None:
    done = template("--set", setting)
    assert done.returncode != 0
    assert says in done.stderr
