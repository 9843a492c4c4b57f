"""Kubeconfig files: who may speak to the API server, as whom."""

import base64
from pathlib import Path

import yaml

from localcluster.pki import KeyPair


def write_kubeconfig(path: Path, *, server: str, authority: Path, client: KeyPair, cluster: str) -> Path:
    """Write a self-contained kubeconfig, readable by the owner only; returns `path`."""
    context = {"cluster": cluster, "user": "user"}
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {"name": cluster, "cluster": {"server": server, "certificate-authority-data": _inline(authority)}}
        ],
        "users": [
            {
                "name": "user",
                "user": {
                    "client-certificate-data": _inline(client.certificate),
                    "client-key-data": _inline(client.key),
                },
            }
        ],
        "contexts": [{"name": cluster, "context": context}],
        "current-context": cluster,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.write_text(yaml.safe_dump(content))
    return path


def _inline(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
