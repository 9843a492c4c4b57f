"""The local cluster is a real Kubernetes: it isolates, enforces, resolves and, once stopped, leaves nothing."""

import dataclasses
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import botocore.exceptions
import pytest
from kubectl import Kubectl, KubectlError

from localcluster import facts as cluster_facts
from localcluster import images, lifecycle, machine
from localcluster.facts import Facts
from localcluster.layout import Layout, layout_of
from localcluster.node_system import cgroup_hierarchies
from localcluster.plan import load_plan
from localcluster.timing import wait_until

pytestmark = pytest.mark.cluster

RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


def pod(image: str, program: str, **container: Any) -> dict[str, Any]:
    """A restricted pod called `probe` that runs a Python program once."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "probe"},
        "spec": {
            "restartPolicy": "Never",
            "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [
                {
                    "name": "probe",
                    "image": image,
                    "command": ["python", "-c", program],
                    "securityContext": RESTRICTED,
                    **container,
                }
            ],
        },
    }


def end_of(kubectl: Kubectl) -> dict[str, Any]:
    """How the probe's container ended."""

    def terminated() -> dict[str, Any] | None:
        found = kubectl.get("pod", "probe") or {}
        statuses = found.get("status", {}).get("containerStatuses", [])
        return statuses[0]["state"].get("terminated") if statuses else None

    return kubectl.wait("the probe has ended", terminated, timeout=180, explain="pod probe")


@pytest.fixture
def image(facts: Facts) -> str:
    """An image with Python."""
    return images.reference(facts, "operator")


def test_a_restricted_pod_runs_and_its_termination_message_arrives(namespace: Kubectl, image: str) -> None:
    program = "open('/dev/termination-log', 'w').write('all is well')"
    namespace.apply(pod(image, program))
    ended = end_of(namespace)
    assert (ended["exitCode"], ended["message"]) == (0, "all is well")


def test_a_pod_reaches_the_object_store_by_name_over_tls_with_the_given_authority_only(
    namespace: Kubectl, image: str, facts: Facts
) -> None:
    program = f"""
import ssl, urllib.error, urllib.request
def get(context):
    try:
        urllib.request.urlopen({facts.s3_endpoint!r}, context=context, timeout=10)
    except urllib.error.HTTPError as answer:
        return str(answer.code)
    except urllib.error.URLError as error:
        return type(error.reason).__name__
trusting = ssl.create_default_context(cadata={facts.s3_ca_file.read_text()!r})
open('/dev/termination-log', 'w').write(get(trusting) + ' ' + get(ssl.create_default_context()))
"""
    namespace.apply(pod(image, program))
    assert end_of(namespace)["message"] == "403 SSLCertVerificationError"


def test_a_pod_reaches_nothing_outside_the_cluster(namespace: Kubectl, image: str, facts: Facts) -> None:
    program = """
import socket
def reach(host):
    try:
        socket.create_connection((host, 53), timeout=5)
        return 'reached'
    except OSError as error:
        return type(error).__name__
named = reach('example.com')
numbered = reach('192.0.2.53')
open('/dev/termination-log', 'w').write(named + ' ' + numbered)
"""
    namespace.apply(pod(image, program))
    assert end_of(namespace)["message"] == "gaierror OSError"


def test_a_container_over_its_memory_limit_is_reported_as_oom_killed(namespace: Kubectl, image: str) -> None:
    limits = {"memory": "64Mi", "cpu": "1"}
    namespace.apply(pod(image, "held = bytearray(512 << 20)", resources={"limits": limits}))
    ended = end_of(namespace)
    assert (ended["reason"], ended["exitCode"]) == ("OOMKilled", 137)


def test_only_restricted_pods_are_taken_in_every_namespace(kubectl: Kubectl, namespace: Kubectl, image: str) -> None:
    active = [each["metadata"]["name"] for each in kubectl.items("namespaces") if each["status"]["phase"] == "Active"]
    assert {"default", "kube-system", namespace.namespace} <= set(active)
    for name in active:
        judge = ("create", "--dry-run=server", "-f", "-")
        kubectl.inside(name).run(*judge, stdin=json.dumps(pod(image, "pass")))
        with pytest.raises(KubectlError, match='violates PodSecurity "restricted:latest"'):
            kubectl.inside(name).run(*judge, stdin=json.dumps(pod(image, "pass", securityContext={})))


def test_no_namespace_has_labels_that_loosen_what_pods_may_be(kubectl: Kubectl) -> None:
    """Labels would win over what the cluster enforces where there are none."""
    for namespace in kubectl.items("namespaces"):
        labels = namespace["metadata"].get("labels", {})
        levels = {labels.get(f"pod-security.kubernetes.io/{mode}") for mode in ("enforce", "audit", "warn")}
        assert levels <= {None, "restricted"}, namespace["metadata"]["name"]


def test_a_node_offers_gpus_of_a_name_of_its_own(kubectl: Kubectl) -> None:
    (node,) = kubectl.items("nodes")
    offered = node["status"]["allocatable"]
    assert (offered["example.com/gpu"], "nvidia.com/gpu" in offered) == ("4", False)


@pytest.mark.parametrize(
    ("identity", "bucket", "answer"),
    [
        ("team-a", "team-a", "written"),
        ("team-a", "team-b", "AccessDenied"),
        ("team-a", "models", "AccessDenied"),
        ("admin", "models", "written"),
    ],
)
def test_a_team_writes_to_its_own_bucket_only(facts: Facts, identity: str, bucket: str, answer: str) -> None:
    keys = facts.s3_identities[identity]
    client = boto3.client(
        "s3",
        endpoint_url=facts.s3_endpoint_host,
        aws_access_key_id=keys.access_key,
        aws_secret_access_key=keys.secret_key,
        region_name="us-east-1",
        verify=str(facts.s3_ca_file),
    )
    try:
        client.put_object(Bucket=bucket, Key="local-cluster-test", Body=b"x")
        outcome = "written"
    except botocore.exceptions.ClientError as error:
        outcome = error.response["Error"]["Code"]
    assert outcome == answer


@dataclasses.dataclass(frozen=True)
class Traces:
    """What a cluster could leave on the machine."""

    processes: list[str]
    mounts: list[str]
    interfaces: list[str]
    rules: str
    cgroups: list[str]


def traces(layout: Layout, cgroup: str) -> Traces:
    processes = [path.parent.name for path in Path("/proc").glob("[0-9]*/cmdline") if _mentions(path, layout)]
    listed = subprocess.run(("iptables-save",), check=True, capture_output=True, text=True).stdout
    rules = [line for line in listed.splitlines() if line.startswith("-A")]
    return Traces(
        processes=processes,
        mounts=[line for line in Path("/proc/mounts").read_text().splitlines() if str(layout.root) in line],
        interfaces=sorted(path.name for path in Path("/sys/class/net").iterdir()),
        rules="\n".join(rules),
        cgroups=[str(path) for root in cgroup_hierarchies() for path in [root / cgroup.lstrip("/")] if path.exists()],
    )


def _mentions(cmdline: Path, layout: Layout) -> bool:
    try:
        return str(layout.root) in cmdline.read_text()
    except OSError:
        return False


@pytest.fixture
def second(facts: Facts) -> Iterator[tuple[Layout, Traces]]:
    """Layout of another cluster beside the running one, and the machine's state before its start."""
    layout = layout_of("leaves-nothing")
    lifecycle.down(layout, purge=True)
    yield layout, traces(layout, "/finetune-leaves-nothing")
    lifecycle.down(layout, purge=True)


@pytest.mark.slow(name="stopped cluster", minutes=2)
@pytest.mark.parametrize("ending", ["down", "kill"])
def test_a_stopped_cluster_leaves_no_trace_and_its_neighbour_running(
    second: tuple[Layout, Traces], facts: Facts, kubectl: Kubectl, ending: str
) -> None:
    layout, before = second
    found = lifecycle.up(layout)
    plan = load_plan(layout)
    assert plan is not None
    assert found.node_address != facts.node_address
    own = Kubectl(found.binaries / "kubectl", found.kubeconfig, "default")
    own.apply(pod(images.reference(facts, "operator"), "import time; time.sleep(600)"))
    own.run("wait", "--for=condition=Ready", "pod/probe", "--timeout=120s")
    assert traces(layout, plan.cgroup).cgroups
    if ending == "kill":
        process = machine.running(layout)
        assert process is not None
        subprocess.run(("kill", "-9", str(process.pid)), check=True)
    lifecycle.down(layout, purge=True)
    assert traces(layout, plan.cgroup) == before
    assert lifecycle.status(layout_of(cluster_facts.load().name))[0]
    assert kubectl.items("nodes")


def test_an_interface_that_a_dead_cluster_left_is_removed_and_one_that_is_gone_is_no_error() -> None:
    name = "finetune-left"
    subprocess.run(("ip", "link", "add", name, "type", "veth", "peer", "name", f"{name}2"), check=True)
    machine.remove_interface(name)
    machine.remove_interface(name)
    left = {path.name for path in Path("/sys/class/net").iterdir()}
    assert not left & {name, f"{name}2"}


@pytest.mark.slow(name="dead component", minutes=1)
def test_a_component_that_dies_is_reported_with_its_log_and_not_restarted(second: tuple[Layout, Traces]) -> None:
    layout, _ = second
    lifecycle.up(layout)
    (victim,) = [
        path.parent.name
        for path in Path("/proc").glob("[0-9]*/cmdline")
        if _mentions(path, layout) and "Corefile" in path.read_text()
    ]
    subprocess.run(("kill", "-9", victim), check=True)
    wait_until(lambda: not lifecycle.status(layout)[0], seconds=10, what="the death to be reported")
    (line,) = [line for line in lifecycle.status(layout)[1] if "died" in line]
    assert line.startswith("coredns")
    assert str(layout.logs / "coredns.log") in line
