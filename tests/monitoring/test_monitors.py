"""What the chart makes for the Prometheus operator and for Grafana: nothing, or what an API server takes."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from kubectl import Kubectl, KubectlError
from monitoring_judges import ROOT, monitor_definitions
from rendered_chart import CHART, one, render, template

from finetune_api.names import INDEX_LABEL, KIND_LABEL, MANAGED_BY, MANAGER, METRICS_PORT_NAME

pytestmark = pytest.mark.cluster  # Helm and the API server are compiled together with the local cluster.

KINDS = {"ServiceMonitor": "serviceMonitor", "PodMonitor": "podMonitor", "PrometheusRule": "prometheusRule"}
ALL = [f"--set=monitoring.{value}.enabled=true" for value in (*KINDS.values(), "dashboards")]


@pytest.fixture(scope="module")
def known(server: Kubectl) -> Iterator[Kubectl]:
    """The API server, once it knows the Prometheus operator's kinds."""
    server.run("apply", "--server-side", *(f"--filename={path}" for path in monitor_definitions()))
    server.run("wait", "--for=condition=Established", "--timeout=60s", "crd", "--all")
    yield server
    server.run("delete", *(f"--filename={path}" for path in monitor_definitions()))


def test_nothing_of_it_is_there_by_default() -> None:
    kinds = {item["kind"] for item in render()}
    assert not kinds & {*KINDS, "ConfigMap"}


@pytest.mark.parametrize("kind", KINDS)
def test_a_real_api_server_takes_it_strictly(known: Kubectl, kind: str) -> None:
    made = one(kind, *ALL)
    made["metadata"]["namespace"] = "default"
    known.run("create", "--dry-run=server", "--validate=strict", "-f", "-", stdin=json.dumps(made))
    made["spec"]["intervall"] = "30s"
    with pytest.raises(KubectlError, match="intervall"):
        known.run("create", "--dry-run=server", "--validate=strict", "-f", "-", stdin=json.dumps(made))


@pytest.mark.parametrize(("kind", "value"), KINDS.items())
def test_labels_are_those_that_prometheus_selects_by(kind: str, value: str) -> None:
    options = (f"--set=monitoring.{value}.enabled=true", f"--set=monitoring.{value}.labels.release=stack")
    assert one(kind, *options)["metadata"]["labels"]["release"] == "stack"


def test_the_service_monitor_finds_the_service_s_port() -> None:
    monitor, service = one("ServiceMonitor", *ALL)["spec"], one("Service")
    assert monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert monitor["namespaceSelector"] == {"matchNames": [service["metadata"]["namespace"]]}
    assert [each["port"] for each in monitor["endpoints"]] == [each["name"] for each in service["spec"]["ports"]]


def test_the_pod_monitor_finds_the_first_pod_of_a_training_job() -> None:
    monitor = one("PodMonitor", *ALL)["spec"]
    assert monitor["selector"]["matchLabels"] == {MANAGED_BY: MANAGER, KIND_LABEL: "train", INDEX_LABEL: "0"}
    assert [each["port"] for each in monitor["podMetricsEndpoints"]] == [METRICS_PORT_NAME]
    assert monitor["namespaceSelector"] == {"any": True}


def test_the_pod_monitor_of_some_namespaces_looks_in_these_alone() -> None:
    monitor = one("PodMonitor", *ALL, "--set=settings.namespaces={team-a,team-b}")["spec"]
    assert monitor["namespaceSelector"] == {"matchNames": ["team-a", "team-b"]}


def test_a_pod_that_pretends_to_be_a_trainer_cannot_pass_for_the_operator() -> None:
    monitor = one("PodMonitor", *ALL)["spec"]
    (endpoint,) = monitor["podMetricsEndpoints"]
    assert monitor["sampleLimit"] == 200
    assert not endpoint.get("honorLabels")
    (kept,) = endpoint["metricRelabelings"]
    assert (kept["action"], kept["regex"]) == ("keep", "finetune_trainer_.*|process_.*")


def test_the_rules_are_those_of_the_file_and_each_alert_has_its_link() -> None:
    url = "https://wiki.example.com/runbooks"
    made = one("PrometheusRule", *ALL, f"--set=monitoring.prometheusRule.runbooks={url}")["spec"]
    links = [
        rule["annotations"].pop("runbook_url").lower() == f"{url}#{rule['alert']}".lower()
        for group in made["groups"]
        for rule in group["rules"]
        if "alert" in rule
    ]
    assert links
    assert all(links)
    assert made == yaml.safe_load((CHART / "files" / "rules.yaml").read_text())


def test_a_dashboard_is_in_a_config_map_that_grafana_s_sidecar_looks_for() -> None:
    maps = [item for item in render(*ALL) if item["kind"] == "ConfigMap"]
    files = {f"finetune-{path.name}": path for path in (CHART / "files" / "dashboards").iterdir()}
    told: dict[str, Any] = {name: text for item in maps for name, text in item["data"].items()}
    assert {name: json.loads(text) for name, text in told.items()} == {
        name: json.loads(path.read_text()) for name, path in files.items()
    }
    assert all(item["metadata"]["labels"]["grafana_dashboard"] == "1" for item in maps)


def test_the_default_links_lead_to_a_page_of_this_tree() -> None:
    assert (
        ROOT / yaml.safe_load((CHART / "values.yaml").read_text())["monitoring"]["prometheusRule"]["runbooks"]
    ).exists()


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("monitoring.serviceMonitor.enabled=maybe", "enabled"),
        ("monitoring.serviceMonitor.interval=often", "interval"),
        ("monitoring.podMonitor.port=80", "port"),
        ("monitoring.podMonitors.enabled=true", "podMonitors"),
        ("monitoring.prometheusRule.runbooks=", "runbooks"),
        ("monitoring.dashboards.labels=none", "labels"),
    ],
)
def test_a_wrong_value_is_refused_and_named(setting: str, says: str) -> None:
    done = template("--set", setting)
    assert done.returncode != 0
    assert says in done.stderr
