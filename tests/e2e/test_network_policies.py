"""The chart's NetworkPolicies, enforced: the operator and its jobs work behind them, and nobody gets past.

The policy engine is kube-router's, as a process on the node: the local cluster's network has none. What Prometheus
would scrape is scraped here, from a namespace that `networkPolicy.metricsFrom` names.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from examples.demo.job import OPERATOR_NAMESPACE, RELEASE, install_operator
from examples.demo.target import Target
from exported_metrics import Exported, families, of_the_operator, of_the_trainer
from kubectl import Kubectl
from monitoring_judges import monitor_definitions
from rich.console import Console
from shell_blocks import run
from team import Team, make_namespace, team_of

from finetune_api.names import JOB_LABEL, MANAGED_BY, MANAGER
from localcluster import machine
from localcluster.facts import Facts
from localcluster.kube_router import enforced_policies
from localcluster.layout import layout_of
from localcluster.plan import S3_PORT

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.slow(name="policies enforced", minutes=3),
    pytest.mark.timeout(900),
]

WALLED, MONITORING, ELSEWHERE = "e2e-walled", "e2e-monitoring", "e2e-elsewhere"
METADATA = "169.254.169.254"
RANK_PORT, OPERATOR_PORT, TRAINER_PORT = 29500, 8080, 9464
LONG = {"training": {"tokensPerStep": 64, "learningRate": 0.01, "epochs": 80}, "checkpoint": {"everySteps": 5}}
LISTEN = "import http.server as s; s.HTTPServer(('{}', {}), s.BaseHTTPRequestHandler).serve_forever()"
ASK = """
import json, socket, sys
def reached(place):
    host, port = place.rsplit(":", 1)
    try:
        socket.create_connection((host, int(port)), timeout=3).close()
        return True
    except OSError:
        return False
print(json.dumps([reached(place) for place in sys.argv[1:]]))
"""
READ = "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1], timeout=10).read().decode())"

REACHED = {
    # From: another pod of the job, S3, the metadata service, the operator.
    "job": [True, True, False, False],
    "operator": [False, False, False, True],
    "monitoring": [False, True, True, True],
    "stranger": [False, True, True, False],
}


@dataclass(frozen=True)
class Walls:
    """An installation with policies, and pods from which to try them."""

    kubectl: Kubectl
    team: Team
    askers: dict[str, tuple[str, str]]
    """Namespace and pod of each row of REACHED."""
    places: list[str]
    """`host:port` of each of its columns."""

    def reached(self) -> dict[str, list[bool]]:
        """What can be reached now, as REACHED has it."""
        return {who: json.loads(self._python(*pod, ASK, *self.places)) for who, pod in self.askers.items()}

    def read(self, url: str) -> str:
        """What is found at a URL from where Prometheus would be."""
        return self._python(*self.askers["monitoring"], READ, url)

    def _python(self, namespace: str, pod: str, program: str, *arguments: str) -> str:
        return self.kubectl.inside(namespace).run("exec", pod, "--", "python3", "-c", program, *arguments)


def probe(target: Target, namespace: str, name: str, **labels: str) -> dict[str, Any]:
    """A restricted pod that asks and is asked."""
    user = {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}}
    container = {
        "name": "probe",
        "image": target.operator_image,
        "command": ["python3", "-c", LISTEN.format("", RANK_PORT)],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    spec = {"terminationGracePeriodSeconds": 0, "securityContext": user, "containers": [container]}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": {**spec, "automountServiceAccountToken": False},
    }


def only_pod(kubectl: Kubectl, namespace: str, *selector: str) -> tuple[str, str]:
    """Name and address of the one that runs."""
    pods = kubectl.inside(namespace).items("pods", *selector)
    ((name, address),) = [
        (pod["metadata"]["name"], pod["status"]["podIP"])
        for pod in pods
        if pod["status"]["phase"] == "Running" and "deletionTimestamp" not in pod["metadata"]
    ]
    return name, address


@pytest.fixture(scope="module")
def metadata_service(facts: Facts) -> Iterator[str]:
    """Something that answers where clouds keep their metadata: on the node, as there."""
    node = machine.running(layout_of(facts.name))
    assert node is not None
    address = ("dev", "lo", f"{METADATA}/32")
    subprocess.run(machine.inside(node, "ip", "address", "add", *address), check=True)
    server = subprocess.Popen(machine.inside(node, sys.executable, "-c", LISTEN.format(METADATA, 80)))
    yield f"{METADATA}:80"
    server.kill()
    server.wait()
    subprocess.run(machine.inside(node, "ip", "address", "delete", *address), check=True)


@pytest.fixture(scope="module")
def monitors(installed: Target) -> Iterator[None]:
    """The Prometheus operator's definitions, without which the chart's PodMonitor cannot be installed."""
    files = [part for path in monitor_definitions() for part in ("-f", str(path))]
    installed.kubectl.run("apply", "--server-side", *files)
    yield
    installed.kubectl.run("delete", *files, "--wait=false")


@pytest.fixture(scope="module")
def walls(installed: Target, facts: Facts, tiny_model: Path, monitors: None, metadata_service: str) -> Iterator[Walls]:
    """The chart with its policies and a team behind them; nothing enforces them yet."""
    kubectl = installed.kubectl
    for namespace in (MONITORING, ELSEWHERE, WALLED):
        kubectl.run("delete", "namespace", namespace, "--ignore-not-found", timeout=300)
        kubectl.run("create", "namespace", namespace)
    team = team_of(installed, make_namespace(installed, WALLED))
    source = "networkPolicy.metricsFrom[0].namespaceSelector.matchLabels.kubernetes\\.io/metadata\\.name"
    values = {
        "networkPolicy.enabled": "true",
        "networkPolicy.jobNamespaces[0]": WALLED,
        "networkPolicy.apiServer.cidrs[0]": f"{facts.node_address}/32",
        source: MONITORING,
        "monitoring.podMonitor.enabled": "true",
    }
    install_operator(installed, Console(), values)
    job_labels = {MANAGED_BY: MANAGER, JOB_LABEL: "probed"}
    kubectl.apply(
        probe(installed, WALLED, "job", **job_labels),
        probe(installed, WALLED, "fellow", **job_labels),
        probe(installed, MONITORING, "monitoring"),
        probe(installed, ELSEWHERE, "stranger"),
    )
    for namespace in (MONITORING, ELSEWHERE, WALLED):
        kubectl.inside(namespace).run("wait", "--for=condition=Ready", "pod", "--all", "--timeout=120s")
    select_operator = ("-l", f"app.kubernetes.io/name={RELEASE}")
    kubectl.wait("one operator", lambda: len(kubectl.inside(OPERATOR_NAMESPACE).items("pods", *select_operator)) == 1)
    operator, address = only_pod(kubectl, OPERATOR_NAMESPACE, *select_operator)
    _, fellow = only_pod(kubectl, WALLED, "--field-selector", "metadata.name=fellow")
    yield Walls(
        kubectl,
        team,
        {
            "job": (WALLED, "job"),
            "operator": (OPERATOR_NAMESPACE, operator),
            "monitoring": (MONITORING, "monitoring"),
            "stranger": (ELSEWHERE, "stranger"),
        },
        [f"{fellow}:{RANK_PORT}", f"{facts.node_address}:{S3_PORT}", metadata_service, f"{address}:{OPERATOR_PORT}"],
    )
    install_operator(installed, Console())
    for namespace in (MONITORING, ELSEWHERE, WALLED):
        kubectl.run("delete", "namespace", namespace, "--wait=false")


@pytest.fixture(scope="module")
def enforced(walls: Walls, facts: Facts) -> Iterator[Walls]:
    """The same with a policy engine, which by itself is what makes the difference."""
    assert walls.reached() == dict.fromkeys(REACHED, [True] * 4)
    with enforced_policies(layout_of(facts.name)):
        walls.kubectl.wait("policies are enforced", lambda: not all(walls.reached()["stranger"]), timeout=60)
        yield walls
    assert walls.reached() == dict.fromkeys(REACHED, [True] * 4)


def test_only_what_the_policies_name_is_reached(enforced: Walls) -> None:
    with suppress(AssertionError):  # which would not say what is there instead
        enforced.kubectl.wait("all of them are enforced", lambda: enforced.reached() == REACHED, timeout=30)
    assert enforced.reached() == REACHED


def test_helm_test_passes_through_the_operators_policy(enforced: Walls, tmp_path: Path) -> None:
    run(f"helm test {RELEASE} --namespace {OPERATOR_NAMESPACE}", tmp_path, kubectl=enforced.kubectl)


def test_a_job_completes_behind_the_policies_and_prometheus_reads_what_the_page_lists(enforced: Walls) -> None:
    team = enforced.team
    team.submit(team.job("scraped", **LONG))
    team.until("scraped", "a checkpoint in training", is_saved)
    _, trainer = only_pod(enforced.kubectl, WALLED, "-l", f"{JOB_LABEL}=scraped,finetune.dev/kind=train")
    told = families(enforced.read(f"http://{trainer}:{TRAINER_PORT}/metrics"))
    assert own(told) == own(exported_as(of_the_trainer())) - {("finetune_trainer_mfu_ratio", "gauge")}, "on a CPU"
    assert enforced.reached()["stranger"] == REACHED["stranger"]
    team.completed("scraped")
    told = families(enforced.read(f"http://{enforced.places[-1]}/metrics"))
    assert own(told) == own(exported_as(of_the_operator()))


def is_saved(job: dict[str, Any]) -> bool:
    status = job["status"]
    return status.get("progress", {}).get("stage") == "training" and "checkpoint" in status


def exported_as(metrics: list[Exported]) -> set[tuple[str, str]]:
    return {(metric.name, metric.type) for metric in metrics}


def own(told: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """Without those that libraries bring."""
    return {(name, kind) for name, kind in told if not name.startswith(("process_", "python_"))}
