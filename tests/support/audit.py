"""The API server's own account of who wrote what: independent of what a client counts."""

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

POLICY: Final = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [
        {"level": "Metadata", "verbs": ["create", "update", "patch", "delete", "deletecollection"]},
        {"level": "None"},
    ],
}
OPERATOR: Final = "finetune-operator"


@dataclass(frozen=True)
class Write:
    """One request that changed something, or was refused."""

    verb: str
    resource: str
    """`jobs`, `finetunejobs/status`."""
    name: str
    code: int
    user: str
    pod: str
    """Whose token was used; empty for an identity that is no pod's."""
    at: datetime


def writes(log: Path, namespace: str, agent: str = OPERATOR, *, start: int = 0) -> list[Write]:
    """What a client wrote in a namespace, in order; of a long log from its byte `start` on."""
    with log.open("rb") as file:
        file.seek(start)
        # A last line without an end is still being written.
        entries = [json.loads(line) for line in file if line.endswith(b"\n")]
    return [
        _write(entry)
        for entry in entries
        if entry["userAgent"] == agent and entry["objectRef"].get("namespace") == namespace
    ]


def _write(entry: dict[str, Any]) -> Write:
    target = entry["objectRef"]
    resource = "/".join(part for part in (target["resource"], target.get("subresource")) if part)
    return Write(
        verb=entry["verb"],
        resource=resource,
        name=target.get("name", ""),
        code=entry["responseStatus"]["code"],
        user=entry["user"]["username"],
        pod="".join(entry["user"].get("extra", {}).get("authentication.kubernetes.io/pod-name", ())),
        at=datetime.fromisoformat(entry["requestReceivedTimestamp"]),
    )
