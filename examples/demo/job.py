"""From files on disk to a running FinetuneJob: upload, install, apply."""

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from examples.demo.example import Example
from examples.demo.target import TEAM, DemoError, Target
from kubectl import KubectlError
from rich.console import Console

from finetune_trainer.storage import Storage
from localcluster.layout import cache_root

ROOT: Final = Path(__file__).resolve().parents[2]
CHART: Final = ROOT / "charts" / "finetune-operator"
RELEASE: Final = "finetune-operator"
OPERATOR_NAMESPACE: Final = "finetune-system"
RESTRICTED: Final = {"pod-security.kubernetes.io/enforce": "restricted"}


def upload_inputs(target: Target, example: Example, console: Console) -> None:
    """Base model (once) and data sets to S3."""
    console.rule("[bold]2  Base model and data in S3")
    model_dir = cache_root() / "models" / "smollm2-135m-instruct"
    command = [sys.executable, str(ROOT / "examples" / "base_model.py"), str(model_dir)]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode:
        raise DemoError(made.stderr.strip())
    sent = _upload_missing(target.storage, model_dir, target.model_uri)
    console.print(f"  SmolLM2-135M-Instruct  {target.model_uri}  ({sent} files sent)")
    for key, path in example.data_files.items():
        uri = f"{target.team_uri}/{key}"
        content = path.read_bytes()
        target.storage.write(uri, content)
        lines = content.count(b"\n")
        console.print(f"  {path.name:<21}  {uri}  ({lines} lines)", soft_wrap=True)


def _upload_missing(storage: Storage, directory: Path, prefix: str) -> int:
    present = {item.name: item.size for item in storage.list_objects(f"{prefix}/")}
    missing = [path for path in sorted(directory.iterdir()) if present.get(path.name) != path.stat().st_size]
    for path in missing:
        storage.upload(path, f"{prefix}/{path.name}")
    return len(missing)


def install_operator(target: Target, console: Console, values: Mapping[str, str] | None = None) -> None:
    """The chart, by Helm, as a platform team would; `values` are further ones, true, false or a number among them."""
    console.rule("[bold]3  The operator, by Helm")
    settings = {
        **_image("image", target.operator_image),
        **_image("trainer.image", target.trainer_image),
        # Two cores have to do for everything here; small data is checked in seconds all the same.
        "preflight.cpu": "500m",
    }
    _clear_interrupted_release(target)
    console.print(f"  $ helm upgrade --install {RELEASE} charts/finetune-operator -n {OPERATOR_NAMESPACE}")
    done = _helm(
        target, "upgrade", "--install", RELEASE, str(CHART), "--create-namespace", "--wait", "--timeout", "5m",
        *[part for key, value in settings.items() for part in ("--set-string", f"{key}={value}")],
        *[part for key, value in (values or {}).items() for part in ("--set", f"{key}={value}")],
    )  # fmt: skip
    if done.returncode:
        raise DemoError(f"helm: {done.stderr.strip()}")
    crd = "crd/finetunejobs.finetune.dev"
    target.kubectl.run("wait", "--for=condition=Established", crd, "--timeout=60s")
    console.print(f"  operator {target.operator_image}\n  trainer  {target.trainer_image}")


def _image(value: str, reference: str) -> dict[str, str]:
    """The chart's values for an image by tag, or by digest."""
    repository, _, digest = reference.partition("@")
    if digest:
        return {f"{value}.repository": repository, f"{value}.digest": digest}
    repository, _, tag = reference.rpartition(":")
    return {f"{value}.repository": repository, f"{value}.tag": tag}


def _clear_interrupted_release(target: Target) -> None:
    """Helm refuses to go on from an install that was cut off; the jobs and their definition stay."""
    found = _helm(target, "status", RELEASE, "--output", "json")
    if found.returncode == 0 and json.loads(found.stdout)["info"]["status"].startswith("pending-"):
        _helm(target, "uninstall", RELEASE, "--wait")


def _helm(target: Target, *arguments: str) -> subprocess.CompletedProcess[str]:
    kubeconfig = ["--kubeconfig", str(target.kubectl.kubeconfig)] if target.kubectl.kubeconfig else []
    command = [target.helm, *kubeconfig, "--namespace", OPERATOR_NAMESPACE, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def apply(target: Target, example: Example, console: Console, *, seed: int = 0) -> str:
    """The team's namespace, Secret and job; the job's name."""
    console.rule("[bold]4  The job")
    team = target.kubectl.inside(TEAM)
    team.apply(*team_objects(target, TEAM))
    jobs = team.items("finetunejobs")
    name = _next_name(target, example.job_name, jobs)
    parent = newest_adapter(jobs, example.parent) if example.parent else None
    try:
        team.apply(example.manifest_for(target, name, seed=seed, adapter_uri=parent))
    except KubectlError as error:
        raise DemoError(error.stderr.strip()) from error
    console.print(f"  $ kubectl apply -f {example.path.relative_to(ROOT)}   # as {name}")
    if parent:
        console.print(f"  goes on from {parent}", soft_wrap=True)
    return name


def team_objects(target: Target, namespace: str) -> list[dict[str, Any]]:
    """What a team's namespace needs before its first job."""
    objects: list[dict[str, Any]] = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": RESTRICTED}},
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "s3-credentials", "namespace": namespace},
            "stringData": target.keys,
        },
    ]
    if target.ca_pem:
        metadata = {"name": "s3-ca", "namespace": namespace}
        objects.append(
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"ca.crt": target.ca_pem}}
        )
    return objects


def newest_adapter(jobs: list[dict[str, Any]], job_name: str) -> str:
    """URI of the adapter that the last finished run of an example left.

    Raises:
        DemoError: no run of it is complete; says how to make one.

    """
    runs = [job for job in jobs if re.fullmatch(f"{re.escape(job_name)}-[0-9]+", job["metadata"]["name"])]
    complete = [job["status"] for job in runs if job.get("status", {}).get("phase") == "Complete"]
    if not complete:
        raise DemoError(f"this job goes on from an adapter of {job_name}: run `make example NAME={job_name}` first")
    return str(max(complete, key=lambda status: status["finishedAt"])["artifact"]["uri"])


def _next_name(target: Target, job_name: str, jobs: list[dict[str, Any]]) -> str:
    """Each run is a new job: settings that decide a result are immutable."""
    prefix = f"{target.team_uri}/adapters/"
    taken = {job["metadata"]["name"] for job in jobs}
    taken |= {item.uri.removeprefix(prefix).split("/")[0] for item in target.storage.list_objects(prefix)}
    return next(name for number in range(1, 10_000) if (name := f"{job_name}-{number}") not in taken)
