"""What a tenant may try with a FinetuneJob on a real API server, and who refuses it.

docs/threat-model.md names these cases; tests/repo/test_threat_model.py holds the two together.
"""

import copy
import json
from pathlib import Path
from typing import Any

import cluster_objects as o
import pytest
import yaml
from kubectl import Kubectl, KubectlError
from operator_process import OperatorProcess
from played_job import children, submit, until_phase
from rendered_chart import operator_pod

pytestmark = pytest.mark.cluster

DATA = Path(__file__).parent / "data"
RESTRICTED = "pod-security.kubernetes.io/enforce=restricted"


PRIVILEGED = {"securityContext": {"privileged": True}}
# what is asked for, what the API server says
REFUSED_BY_THE_SCHEMA: dict[str, tuple[dict[str, Any], str]] = {
    "a privileged pod": ({"podTemplate": {"spec": {"containers": [PRIVILEGED]}}}, 'unknown field "spec.podTemplate"'),
    "a security context": ({"resources": PRIVILEGED}, 'unknown field "spec.resources.securityContext"'),
    "the node's network": ({"scheduling": {"hostNetwork": True}}, 'unknown field "spec.scheduling.hostNetwork"'),
    "a directory of the node": ({"volumes": [{"hostPath": {"path": "/"}}]}, 'unknown field "spec.volumes"'),
    "another image": ({"image": "evil.example.com/x"}, 'unknown field "spec.image"'),
    "an environment variable": ({"env": [{"name": "LD_PRELOAD"}]}, 'unknown field "spec.env"'),
    "a node by name": ({"scheduling": {"nodeName": "control-plane"}}, 'unknown field "spec.scheduling.nodeName"'),
    "a Secret of another namespace": (
        {"storage": {"credentials": {"secretName": "keys", "namespace": "kube-system"}}},
        'unknown field "spec.storage.credentials.namespace"',
    ),
    "a Secret by a path": ({"storage": {"credentials": {"secretName": "../kube-system/keys"}}}, "secretName"),
    "a ConfigMap of another namespace": (
        {"storage": {"caBundle": {"configMapName": "kube-system/root-ca"}}},
        "configMapName",
    ),
    "a key outside of the mount": (
        {"storage": {"caBundle": {"configMapName": "ca", "key": "../../x"}}},
        "caBundle.key",
    ),
    "a service account of another namespace": ({"storage": {"serviceAccountName": "kube-system:default"}}, "Account"),
    "an annotation that loosens the sandbox": (
        {"scheduling": {"annotations": {"container.apparmor.security.beta.kubernetes.io/trainer": "unconfined"}}},
        "scheduling.annotations takes those of schedulers alone",
    ),
    "a GPU's memory shared behind the scheduler's back": (
        {"scheduling": {"annotations": {"volcano.sh/vgpu-memory": "99999"}}},
        "scheduling.annotations takes those of schedulers alone",
    ),
    "a resource that is no device": ({"resources": {"gpus": {"resourceName": "memory"}}}, "resourceName"),
    "a file instead of an S3 URI": ({"model": {"uri": "file:///etc"}}, "spec.model.uri"),
    "keys in an endpoint": ({"storage": {"endpoint": "https://key:secret@s3.example.com"}}, "spec.storage.endpoint"),
    "a path in an endpoint": ({"storage": {"endpoint": "https://s3.example.com/latest/meta-data"}}, "spec.storage"),
}


@pytest.mark.parametrize(("asked", "says"), REFUSED_BY_THE_SCHEMA.values(), ids=REFUSED_BY_THE_SCHEMA)
def test_the_schema_knows_no_way_to_ask_for_it(team: Kubectl, asked: dict[str, Any], says: str) -> None:
    with pytest.raises(KubectlError) as refused:
        submit(team, **asked)
    assert says in refused.value.stderr


@pytest.fixture
def restricted(team: Kubectl) -> Kubectl:
    """The test's namespace under Pod Security's strictest standard."""
    team.run("label", "namespace", str(team.namespace), RESTRICTED)
    return team


def admitted(team: Kubectl, pod: dict[str, Any]) -> None:
    """Have the API server judge a pod, and keep none."""
    spec = {name: value for name, value in pod.items() if name not in ("priorityClassName", "serviceAccountName")}
    manifest = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "judged"}, "spec": spec}
    team.run("create", "--dry-run=server", "-f", "-", stdin=json.dumps(manifest))


@pytest.mark.parametrize("case", sorted(path.name.removesuffix(".job.yaml") for path in DATA.glob("*.job.yaml")))
def test_pods_of_jobs_are_admitted_where_pods_are_restricted(restricted: Kubectl, case: str) -> None:
    job = yaml.safe_load((DATA / f"{case}.job.yaml").read_text())
    pod = job["spec"]["template"]["spec"]
    # The request, which the recorded manifests leave out, is text.
    admitted(restricted, pod)


def test_the_operators_own_pod_is_admitted_where_pods_are_restricted(restricted: Kubectl) -> None:
    admitted(restricted, operator_pod())


def test_a_pod_with_one_privilege_more_would_not_be_admitted_there(restricted: Kubectl) -> None:
    pod = copy.deepcopy(operator_pod())
    pod["containers"][0]["securityContext"]["capabilities"]["add"] = ["NET_RAW"]
    with pytest.raises(KubectlError, match="violates PodSecurity"):
        admitted(restricted, pod)


def test_a_status_that_a_tenant_writes_into_a_manifest_is_dropped(team: Kubectl) -> None:
    forged = {"phase": "Complete", "image": "evil.example.com/trainer", "artifact": {"uri": "s3://x", "verified": True}}
    metadata = {"name": "forged", "namespace": team.namespace}
    made = {"apiVersion": "finetune.dev/v1alpha1", "kind": "FinetuneJob", "metadata": metadata, "spec": o.SPEC}
    team.run("apply", "--validate=ignore", "-f", "-", stdin=json.dumps({**made, "status": forged}))
    assert "status" not in (team.get("ftj", "forged") or {})


ADMIN = {
    "allowedBuckets": ["s3://team-data/{namespace}/", "s3://out", "s3://data"],
    "allowedModels": ["s3://models/"],
    "allowedServiceAccounts": ["finetune"],
}
# what is asked for, the field and the setting that are named
REFUSED_BY_THE_OPERATOR: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "metadata": ({"storage": {"endpoint": "http://169.254.169.254"}}, ("spec.storage.endpoint", "the cloud")),
    "metadata-by-number": ({"storage": {"endpoint": "http://2852039166"}}, ("spec.storage.endpoint",)),
    "metadata-by-bucket": (
        {"storage": {"endpoint": "http://google.internal", "pathStyle": False}, "model": {"uri": "s3://metadata/x"}},
        ("spec.storage.endpoint",),
    ),
    "foreign-prefix": (
        {"output": {"uri": "s3://team-data/team-b/x"}},
        ("spec.output.uri", "s3://team-data/team-b/x", "admin.allowedBuckets"),
    ),
    "steps": ({"output": {"uri": "s3://out/../team-b"}}, ("spec.output.uri", "segment . or ..")),
    "service-account": (
        {"storage": {"serviceAccountName": "cluster-admin"}},
        ("spec.storage.serviceAccountName", "admin.allowedServiceAccounts"),
    ),
    "model": ({"model": {"uri": "s3://out/model"}}, ("spec.model.uri", "admin.allowedModels")),
}


def test_the_operator_refuses_before_it_creates_anything(team: Kubectl, tmp_path: Path) -> None:
    flags = ("--namespaces", str(team.namespace), "--admin", json.dumps(ADMIN))
    with OperatorProcess(team, tmp_path / "operator.log", *flags):
        for name, (spec, _) in REFUSED_BY_THE_OPERATOR.items():
            submit(team, name, **spec)
        for name, (_, words) in REFUSED_BY_THE_OPERATOR.items():
            ended = until_phase(team, "Failed", name)
            assert ended["failure"]["reason"] == "NotAllowed", name
            assert ended["failure"]["class"] == "Settings", name
            assert not [word for word in words if word not in ended["message"]], ended["message"]
            assert children(team, name) == []
