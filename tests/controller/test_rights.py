"""The rights the operator asks for are enough, and one that is missing is named."""

from pathlib import Path

import cluster_objects as o
import pytest
from kubectl import Kubectl
from operator_account import identity
from operator_process import OperatorProcess

from finetune_operator.rights import KUEUE, RIGHTS

pytestmark = pytest.mark.cluster


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


def test_an_operator_with_a_lease_needs_rights_where_the_lease_is_and_names_them(team: Kubectl, tmp_path: Path) -> None:
    flags = ("--namespaces", str(team.namespace), "--lease", "default/operator")
    operator = OperatorProcess(identity(team, RIGHTS, tmp_path), tmp_path / "operator.log", *flags)
    operator.start(wait=False)
    assert operator.process is not None
    assert operator.process.wait(timeout=30) == 1
    for verb in ("get", "create", "update"):
        assert f"{verb} leases.coordination.k8s.io in namespace default" in operator.log()
