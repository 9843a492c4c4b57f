"""The rights the operator asks for are enough, and one that is missing is named."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cluster_objects as o
import pytest
import yaml
from kubectl import Kubectl
from operator_process import OperatorProcess

from finetune_operator.rights import KUEUE, RIGHTS, Right

pytestmark = pytest.mark.cluster

ACCOUNT = "finetune-operator"


def identity(team: Kubectl, rights: Sequence[Right], folder: Path) -> Kubectl:
    """A service account with these rights in the namespace, and kubectl as that account."""
    rules = [{"apiGroups": [r.group], "resources": [r.resource], "verbs": list(r.verbs)} for r in rights]
    metadata = {"name": ACCOUNT, "namespace": team.namespace}
    role = {"kind": "Role", "name": ACCOUNT, "apiGroup": "rbac.authorization.k8s.io"}
    subject = {"kind": "ServiceAccount", "name": ACCOUNT, "namespace": team.namespace}
    rbac = "rbac.authorization.k8s.io/v1"
    team.apply(
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata},
        {"apiVersion": rbac, "kind": "Role", "metadata": metadata, "rules": rules},
        {"apiVersion": rbac, "kind": "RoleBinding", "metadata": metadata, "roleRef": role, "subjects": [subject]},
    )
    assert team.kubeconfig is not None
    config = yaml.safe_load(team.kubeconfig.read_text())
    config["users"][0]["user"] = {"token": team.run("create", "token", ACCOUNT).strip()}
    (folder / "kubeconfig").write_text(json.dumps(config))
    return replace(team, kubeconfig=folder / "kubeconfig")


def operator_as(account: Kubectl, folder: Path) -> OperatorProcess:
    return OperatorProcess(account, folder / "operator.log", "--namespaces", str(account.namespace))


def test_the_rights_are_enough_to_run_a_job(team: Kubectl, tmp_path: Path) -> None:
    with operator_as(identity(team, RIGHTS, tmp_path), tmp_path) as operator:
        metadata = {"name": o.NAME, "namespace": team.namespace}
        team.apply({"apiVersion": "finetune.dev/v1alpha1", "kind": "FinetuneJob", "metadata": metadata, "spec": o.SPEC})
        events = ("events", "--field-selector", f"involvedObject.name={o.NAME}")
        team.wait("milestone is recorded", lambda: team.items(*events), timeout=30)
        assert team.get("job", "tune-preflight") is not None
        assert "forbidden" not in operator.log()


def test_a_missing_right_is_named_and_ends_the_process(team: Kubectl, tmp_path: Path) -> None:
    without_logs = [right for right in RIGHTS if right.resource != "pods/log"]
    operator = operator_as(identity(team, without_logs, tmp_path), tmp_path)
    operator.start(wait=False)
    assert operator.process is not None
    assert operator.process.wait(timeout=30) == 1
    assert f"get pods/log in namespace {team.namespace}" in operator.log()
    assert "Traceback" not in operator.log()


def test_an_operator_with_kueue_needs_more_rights_and_names_them(queueing_team: Kubectl, tmp_path: Path) -> None:
    flags = ("--namespaces", str(queueing_team.namespace), "--kueue", "true")
    few = OperatorProcess(identity(queueing_team, RIGHTS, tmp_path), tmp_path / "operator.log", *flags)
    few.start(wait=False)
    assert few.process is not None
    assert few.process.wait(timeout=30) == 1
    assert f"patch workloads.kueue.x-k8s.io in namespace {queueing_team.namespace}" in few.log()
    enough = identity(queueing_team, (*RIGHTS, *KUEUE), tmp_path)
    with OperatorProcess(enough, tmp_path / "operator.log", *flags) as operator:
        assert "forbidden" not in operator.log()
