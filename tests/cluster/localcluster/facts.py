"""What a user of a cluster needs to know, written after each start: addresses, files, S3 keys."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from localcluster.layout import layout_of
from localcluster.plan import REGISTRY_NAME, S3_PORT, S3_SERVICE, Plan
from localcluster.storage import Identity


@dataclass(frozen=True)
class Facts:
    """The facts of one running cluster; the file holds secrets and is its owner's alone."""

    name: str
    kubeconfig: Path
    s3_endpoint: str
    """URL for pods."""
    s3_endpoint_host: str
    """URL for programs on the machine; pods may use it too."""
    s3_ca_file: Path
    s3_identities: dict[str, Identity]
    registry: str
    """The registry's name inside the cluster: image references start with it."""
    registry_push: str
    """host:port to push to, without TLS."""
    host_address: str
    node_address: str
    node_name: str
    binaries: Path
    """Folder with kubectl and helm."""


def facts_of(plan: Plan, identities: dict[str, Identity], ca_file: Path) -> Facts:
    """The facts that follow from a cluster's plan."""
    return Facts(
        name=plan.layout.name,
        kubeconfig=plan.layout.kubeconfig,
        s3_endpoint=f"https://{S3_SERVICE}:{S3_PORT}",
        s3_endpoint_host=f"https://{plan.node_address}:{S3_PORT}",
        s3_ca_file=ca_file,
        s3_identities=identities,
        registry=REGISTRY_NAME,
        registry_push=plan.registry_address,
        host_address=plan.host_address,
        node_address=plan.node_address,
        node_name=plan.node_name,
        binaries=plan.layout.binaries,
    )


def save(path: Path, facts: Facts) -> None:
    """Write the facts, readable by the owner only."""
    path.touch(mode=0o600)
    path.write_text(json.dumps(asdict(facts), indent=2, default=str) + "\n")


def load(name: str = "default") -> Facts:
    """The facts of the cluster called `name`.

    Raises:
        FileNotFoundError: it was never started.
    """
    path = layout_of(name).facts
    if not path.exists():
        raise FileNotFoundError(f"no cluster called {name}: start it with 'make cluster'")
    raw = json.loads(path.read_text())
    for field in ("kubeconfig", "s3_ca_file", "binaries"):
        raw[field] = Path(raw[field])
    raw["s3_identities"] = {name: Identity(**keys) for name, keys in raw["s3_identities"].items()}
    return Facts(**raw)


def shell_lines(facts: Facts) -> str:
    """Assignments for a shell: `eval "$(… env)"`; S3 as the administrator."""
    admin = facts.s3_identities["admin"]
    values = {
        "KUBECONFIG": facts.kubeconfig,
        "AWS_ENDPOINT_URL_S3": facts.s3_endpoint_host,
        "AWS_CA_BUNDLE": facts.s3_ca_file,
        "AWS_ACCESS_KEY_ID": admin.access_key,
        "AWS_SECRET_ACCESS_KEY": admin.secret_key,
        "AWS_REGION": "us-east-1",
        "REGISTRY": facts.registry,
        "REGISTRY_PUSH": facts.registry_push,
    }
    return "".join(f"export {key}='{value}'\n" for key, value in values.items())
