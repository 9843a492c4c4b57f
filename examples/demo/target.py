"""Which cluster and which S3 the demo uses: the embedded ones, or what the current context and environment name."""

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kubectl import Kubectl, KubectlError
from rich.console import Console

from finetune_api.spec.model import CaBundle, Credentials
from finetune_api.spec.model import Storage as StorageSpec
from finetune_trainer.storage import Storage
from localcluster import facts as cluster_facts
from localcluster import images

TEAM: Final = "team-a"
CURRENT_NEEDS: Final = {
    "DEMO_BUCKET": "S3 bucket that the demo may write",
    "AWS_ACCESS_KEY_ID": "S3 identity",
    "AWS_SECRET_ACCESS_KEY": "S3 identity",
}
KEYS: Final = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")


class DemoError(RuntimeError):
    """Something a user can mend; the message says how."""


@dataclass(frozen=True)
class Target:
    """Everything the demo needs to know about where it runs."""

    kubectl: Kubectl
    helm: str
    operator_image: str
    """Empty where somebody else has installed the operator, whose values are theirs."""
    trainer_image: str
    model_uri: str
    team_uri: str
    """Prefix for data and adapters."""
    storage_spec: StorageSpec
    """How pods reach S3."""
    keys: dict[str, str]
    """The team's S3 keys, for its Secret."""
    ca_pem: str | None
    storage: Storage
    """How this program reaches the same S3, as an administrator."""
    stop: str | None
    """The command that stops the cluster, where it is ours."""


def find_target(console: Console) -> Target:
    """Prepare the cluster that CLUSTER names.

    Raises:
        DemoError: the cluster cannot be had; says what is missing.

    """
    choice = os.environ.get("CLUSTER", "embedded")
    if choice == "embedded":
        return _embedded(console)
    if choice == "current":
        return _current(console)
    raise DemoError(f"CLUSTER={choice} is neither embedded nor current")


def _embedded(console: Console) -> Target:
    console.rule("[bold]1  A Kubernetes on this machine")
    prepared = subprocess.run([sys.executable, "-m", "localcluster", "prepare"], check=False)
    if prepared.returncode:
        raise DemoError("the local cluster could not be prepared; the lines above say why")
    return embedded_target(cluster_facts.load())


def embedded_target(facts: cluster_facts.Facts) -> Target:
    """A local cluster that runs and has the images."""
    ca_pem = facts.s3_ca_file.read_text()
    admin, team = facts.s3_identities["admin"], facts.s3_identities[TEAM]
    return Target(
        kubectl=Kubectl(facts.binaries / "kubectl", facts.kubeconfig),
        helm=str(facts.binaries / "helm"),
        operator_image=images.reference(facts, "operator"),
        trainer_image=images.reference(facts, "trainer"),
        model_uri="s3://models/smollm2-135m-instruct",
        team_uri=f"s3://{TEAM}",
        storage_spec=StorageSpec(
            endpoint=facts.s3_endpoint,
            ca_bundle=CaBundle(config_map_name="s3-ca"),
            credentials=Credentials(secret_name="s3-credentials"),  # noqa: S106 - the Secret's name
        ),
        keys={"AWS_ACCESS_KEY_ID": team.access_key, "AWS_SECRET_ACCESS_KEY": team.secret_key},
        ca_pem=ca_pem,
        storage=connect(
            StorageSpec(endpoint=facts.s3_endpoint_host),
            {"AWS_ACCESS_KEY_ID": admin.access_key, "AWS_SECRET_ACCESS_KEY": admin.secret_key},
            ca_pem,
        ),
        stop="make cluster-down",
    )


def _current(console: Console) -> Target:
    missing = [f"{name} ({meaning})" for name, meaning in CURRENT_NEEDS.items() if not os.environ.get(name)]
    if missing:
        raise DemoError("CLUSTER=current needs in the environment: " + "; ".join(missing))
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        raise DemoError("CLUSTER=current needs kubectl on the PATH")
    bucket = os.environ["DEMO_BUCKET"]
    endpoint = os.environ.get("AWS_ENDPOINT_URL")
    # Without an endpoint it is Amazon's, which pods trust as they are; boto3 here takes the variable by itself.
    ca_path = os.environ.get("AWS_CA_BUNDLE") if endpoint else None
    ca_pem = Path(ca_path).read_text() if ca_path else None
    spec = StorageSpec(
        endpoint=endpoint,
        region=os.environ.get("AWS_REGION", "us-east-1"),
        ca_bundle=CaBundle(config_map_name="s3-ca") if ca_pem else None,
        credentials=Credentials(secret_name="s3-credentials"),  # noqa: S106 - the Secret's name
    )
    keys = {name: os.environ[name] for name in KEYS if os.environ.get(name)}
    cluster = Kubectl(Path(kubectl))
    console.rule("[bold]1  The cluster of the current context")
    console.print(f"  {cluster.run('config', 'current-context').strip()}")
    try:
        cluster.run("get", "--raw", "/apis/finetune.dev")
    except KubectlError as error:
        raise DemoError(f"{error}. FinetuneJobs are known where the operator is installed: docs/install.md") from error
    return Target(
        kubectl=cluster,
        helm="",
        operator_image="",
        trainer_image="",
        model_uri=f"s3://{bucket}/models/smollm2-135m-instruct",
        team_uri=f"s3://{bucket}/{TEAM}",
        storage_spec=spec,
        keys=keys,
        ca_pem=ca_pem,
        storage=connect(spec, keys, ca_pem),
        stop=None,
    )


def connect(spec: StorageSpec, keys: dict[str, str], ca_pem: str | None) -> Storage:
    """The trainer's own S3 module, fed like in a pod: keys and CA as files, gone once the client is made."""
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch)
        for name, key in keys.items():
            (directory / name).write_text(key)
        plain = spec.model_copy(update={"ca_bundle": None})
        ca_file = _keep_ca(ca_pem)
        return Storage.connect(plain, credentials_dir=directory, ca_file=ca_file, check=lambda: None)


def _keep_ca(ca_pem: str | None) -> Path:
    """boto3 reads the CA file at every new connection, so it has to stay."""
    if ca_pem is None:
        return Path("/nonexistent")
    with tempfile.NamedTemporaryFile("w", suffix=".crt", delete=False) as file:
        file.write(ca_pem)
    return Path(file.name)
