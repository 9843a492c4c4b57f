"""A service account for an operator that runs outside the cluster."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import yaml
from kubectl import Kubectl

from finetune_operator.rights import Right

ACCOUNT = "finetune-operator"


def identity(team: Kubectl, rights: Sequence[Right], folder: Path, account: str = ACCOUNT) -> Kubectl:
    """A service account with these rights in the namespace, and kubectl as that account."""
    rules = [{"apiGroups": [r.group], "resources": [r.resource], "verbs": list(r.verbs)} for r in rights]
    metadata = {"name": account, "namespace": team.namespace}
    role = {"kind": "Role", "name": account, "apiGroup": "rbac.authorization.k8s.io"}
    subject = {"kind": "ServiceAccount", "name": account, "namespace": team.namespace}
    rbac = "rbac.authorization.k8s.io/v1"
    team.apply(
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata},
        {"apiVersion": rbac, "kind": "Role", "metadata": metadata, "rules": rules},
        {"apiVersion": rbac, "kind": "RoleBinding", "metadata": metadata, "roleRef": role, "subjects": [subject]},
    )
    return as_account(team, account, folder)


def as_account(kubectl: Kubectl, account: str, folder: Path) -> Kubectl:
    """kubectl as a service account of the namespace."""
    assert kubectl.kubeconfig is not None
    config = yaml.safe_load(kubectl.kubeconfig.read_text())
    config["users"][0]["user"] = {"token": kubectl.run("create", "token", account).strip()}
    path = folder / f"kubeconfig-{account}"
    path.write_text(json.dumps(config))
    return replace(kubectl, kubeconfig=path)
