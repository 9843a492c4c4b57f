"""NetworkPolicies: valid for a real API server, and saying what docs/threat-model.md says they say.

`tests/e2e/test_network_policies.py` has them enforced.
"""

import json
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from ipaddress import ip_address, ip_network
from threading import Thread
from typing import Any

import pytest
from kubectl import Kubectl
from rendered_chart import NAME, operator_pod, render, template

from finetune_api.names import JOB_LABEL, MANAGED_BY, MANAGER

pytestmark = pytest.mark.cluster

ON = ("--set", "networkPolicy.enabled=true", "--set", "networkPolicy.jobNamespaces={team-a,team-b}")
SCRAPED = ("--set", "monitoring.podMonitor.enabled=true", "--set", "monitoring.podMonitor.port=9999")
MONITORING = 'networkPolicy.metricsFrom=[{"namespaceSelector": {"matchLabels": {"kind": "monitoring"}}}]'


def policies(*options: str) -> dict[tuple[str, str], dict[str, Any]]:
    """By namespace and name."""
    found = [item for item in render(*ON, *options) if item["kind"] == "NetworkPolicy"]
    return {(item["metadata"]["namespace"], item["metadata"]["name"]): item["spec"] for item in found}


def test_there_are_none_unless_asked_for() -> None:
    assert "NetworkPolicy" not in {item["kind"] for item in render()}


def test_one_is_for_the_operator_and_one_for_the_jobs_of_each_namespace() -> None:
    assert set(policies()) == {("system", NAME), ("team-a", f"{NAME}-jobs"), ("team-b", f"{NAME}-jobs")}


def test_the_namespaces_that_the_operator_serves_are_those_of_jobs_where_none_is_named() -> None:
    options = ("--set", "networkPolicy.enabled=true", "--set", "settings.namespaces={team-c}")
    made = [item["metadata"]["namespace"] for item in render(*options) if item["kind"] == "NetworkPolicy"]
    assert sorted(made) == ["system", "team-c"]


def test_a_real_api_server_takes_them(server: Kubectl) -> None:
    options = (*ON, "--set-json", MONITORING, "--set", "networkPolicy.apiServer.cidrs={10.0.0.1/32}")
    for item in render(*options):
        if item["kind"] == "NetworkPolicy":
            item["metadata"]["namespace"] = "default"
            server.run("create", "--dry-run=server", "--validate=strict", "-f", "-", stdin=json.dumps(item))


def test_the_operators_policy_selects_its_pod_and_its_ports() -> None:
    policy = policies()["system", NAME]
    labels = next(item for item in render() if item["kind"] == "Deployment")["spec"]["template"]["metadata"]["labels"]
    assert policy["podSelector"]["matchLabels"].items() <= labels.items()
    numbers = {port["containerPort"] for port in operator_pod()["containers"][0]["ports"]}
    assert {port["port"] for rule in policy["ingress"] for port in rule["ports"]} == numbers
    assert [sorted({port["port"] for port in rule["ports"]}) for rule in policy["egress"]] == [[53], [443, 6443]]


def test_the_jobs_policy_selects_what_the_operator_makes_and_nobody_else() -> None:
    selector = policies()["team-a", f"{NAME}-jobs"]["podSelector"]
    assert selector == {
        "matchLabels": {MANAGED_BY: MANAGER},
        "matchExpressions": [{"key": JOB_LABEL, "operator": "Exists"}],
    }


@pytest.mark.parametrize(
    ("address", "reached"),
    [
        ("169.254.169.254", False),
        ("169.254.170.2", False),
        ("fe80::1", False),
        ("fd00:ec2::254", False),
        ("10.0.0.7", True),
        ("52.216.0.1", True),
        ("2600:9000::1", True),
    ],
)
def test_jobs_reach_everything_but_metadata_services(address: str, reached: bool) -> None:
    blocks = [
        peer["ipBlock"]
        for rule in policies()["team-a", f"{NAME}-jobs"]["egress"]
        for peer in rule.get("to", [])
        if "ipBlock" in peer
    ]
    inside = [
        block
        for block in blocks
        if ip_address(address) in ip_network(block["cidr"])
        and not any(ip_address(address) in ip_network(hole) for hole in block["except"])
    ]
    assert bool(inside) is reached


def test_training_pods_are_asked_for_metrics_where_they_listen_and_only_if_they_do() -> None:
    closed, scraped = (policies(*options)["team-a", f"{NAME}-jobs"]["ingress"] for options in ((), SCRAPED))
    assert scraped == [*closed, {"ports": [{"port": 9999, "protocol": "TCP"}]}]
    assert [list(rule) for rule in closed] == [["from"]]


def test_metrics_can_be_kept_for_those_who_collect_them() -> None:
    for policy in policies(*SCRAPED, "--set-json", MONITORING).values():
        rule = policy["ingress"][-1]
        assert rule["from"][-1] == {"namespaceSelector": {"matchLabels": {"kind": "monitoring"}}}


def test_helm_test_reaches_an_operator_that_others_may_not_ask() -> None:
    (policy,) = [spec for (namespace, _), spec in policies("--set-json", MONITORING).items() if namespace == "system"]
    (pod,) = [item for item in render(*ON) if item["kind"] == "Pod"]
    (peer, _) = policy["ingress"][0]["from"]
    assert peer["podSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()


def test_helm_test_asks_again_where_it_is_let_through_a_moment_late() -> None:
    (pod,) = [item for item in render(*ON) if item["kind"] == "Pod"]
    (program, _) = pod["spec"]["containers"][0]["args"]
    answers = iter([None, 200])

    class LateOperator(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer = next(answers)
            if answer is not None:
                self.send_response(answer)
                self.end_headers()

    with HTTPServer(("127.0.0.1", 0), LateOperator) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/readyz"
        command = [sys.executable, "-c", program, url]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        server.shutdown()
    assert (done.returncode, done.stdout) == (0, f"{url}: the operator is ready\n"), done.stderr


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("networkPolicy.enabled=perhaps", "enabled"),
        ("networkPolicy.jobNamespaces={Team_A}", "jobNamespaces"),
        ("networkPolicy.apiServer.cidrs={example.com}", "cidrs"),
        ("networkPolicy.apiServer.ports={}", "ports"),
        ("networkPolicy.egress={}", "egress"),
    ],
)
def test_a_wrong_value_is_refused_and_named(setting: str, says: str) -> None:
    done = template("--set", setting)
    assert done.returncode != 0
    assert says in done.stderr
