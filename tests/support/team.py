"""A product team's namespace in end-to-end tests: submit FinetuneJobs, wait for what becomes of them."""

import json
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from examples.demo import job as demo_job
from examples.demo.target import Target
from kubectl import Kubectl

from finetune_trainer.storage import Storage

TINY_MODEL = "s3://models/tiny"


def rows(count: int, *, first: int = 0) -> list[dict[str, str]]:
    """Short instruction rows, all different."""
    return [{"instruction": f"Say {n}.", "response": f"{n} it is"} for n in range(first, first + count)]


def jsonl(data: list[dict[str, str]]) -> bytes:
    """Rows as a JSONL file."""
    return "".join(json.dumps(row) + "\n" for row in data).encode()


@dataclass(frozen=True)
class Team:
    """One namespace with S3 credentials, and a prefix in the team's bucket that no other test uses."""

    kubectl: Kubectl
    storage: Storage
    """The administrator's view of S3."""
    endpoint: str
    bucket: str = "team-a"
    run: str = field(default_factory=lambda: uuid.uuid4().hex[:8])

    def put(self, key: str, content: bytes) -> str:
        """Store a file under this run's prefix; its URI."""
        uri = f"s3://{self.bucket}/e2e/{self.run}/{key}"
        self.storage.write(uri, content)
        return uri

    def output(self, name: str) -> str:
        """An output prefix for a job."""
        return f"s3://{self.bucket}/e2e/{self.run}/out-{name}"

    def job(self, name: str, *, train_rows: int = 24, **changes: Any) -> dict[str, Any]:
        """A small but complete FinetuneJob on the tiny model, seconds long on a CPU; `changes` replace sections."""
        data = {
            "train": [{"uri": self.put(f"{name}/train.jsonl", jsonl(rows(train_rows)))}],
            "validation": [{"uri": self.put(f"{name}/validation.jsonl", jsonl(rows(4, first=800)))}],
            "test": [{"uri": self.put(f"{name}/test.jsonl", jsonl(rows(6, first=900)))}],
            "maxTokens": 128,
        }
        spec = {
            "model": {"uri": TINY_MODEL},
            "data": data,
            "method": {"lora": {"rank": 4, "alpha": 8}},
            "training": {"tokensPerStep": 128, "learningRate": 0.01, "epochs": 2},
            "evaluation": {"metrics": ["exact_match", "token_f1"], "maxNewTokens": 4, "fewShot": 1},
            "checkpoint": {"everySteps": 2},
            "output": {"uri": self.output(name)},
            "storage": {
                "endpoint": self.endpoint,
                "caBundle": {"configMapName": "s3-ca"},
                "credentials": {"secretName": "s3-credentials"},
            },
            "resources": {"gpus": {"count": 0}, "cpu": "900m", "memory": "2Gi", "scratch": "1Gi"},
            "limits": {"retries": 1},
        } | changes
        metadata = {"name": name, "namespace": self.kubectl.namespace}
        return {"apiVersion": "finetune.dev/v1alpha1", "kind": "FinetuneJob", "metadata": metadata, "spec": spec}

    def submit(self, manifest: dict[str, Any]) -> str:
        """Apply a job; its name."""
        self.kubectl.apply(manifest)
        return str(manifest["metadata"]["name"])

    def get(self, name: str) -> dict[str, Any]:
        """The stored FinetuneJob, with an empty status where there is none yet."""
        job = self.kubectl.get("ftj", name)
        assert job is not None, f"{name} is gone"
        return {"status": {}} | job

    def condition(self, name: str, kind: str) -> dict[str, Any]:
        """One condition, or an empty one."""
        found = [c for c in self.get(name)["status"].get("conditions", []) if c["type"] == kind]
        return found[0] if found else {}

    def until(self, name: str, what: str, reached: Any, *, timeout: float = 300) -> Any:
        """Wait until `reached(job)` holds; a failure shows `kubectl describe`."""
        return self.kubectl.wait(
            f"{name}: {what}", lambda: reached(self.get(name)), timeout=timeout, explain=f"ftj {name}"
        )

    def finished(self, name: str, *, timeout: float = 400) -> dict[str, Any]:
        """The status once the job is Complete or Failed."""

        def ended(job: dict[str, Any]) -> dict[str, Any] | None:
            return job["status"] if job["status"].get("phase") in ("Complete", "Failed") else None

        return dict(self.until(name, "Complete or Failed", ended, timeout=timeout))

    def completed(self, name: str, *, timeout: float = 400) -> dict[str, Any]:
        """The status of a job that must complete."""
        status = self.finished(name, timeout=timeout)
        assert status["phase"] == "Complete", status.get("failure")
        return status

    def failed(self, name: str, *, timeout: float = 400) -> dict[str, Any]:
        """The failure of a job that must fail."""
        status = self.finished(name, timeout=timeout)
        assert status["phase"] == "Failed", status
        return dict(status["failure"])

    def jobs(self, name: str) -> list[dict[str, Any]]:
        """The child Jobs of a FinetuneJob."""
        return self.kubectl.items("jobs", "-l", f"finetune.dev/job={name}")

    def objects(self, name: str) -> list[str]:
        """Keys in S3 under a job's output."""
        return [item.uri for item in self.storage.list_objects(self.output(name) + "/")]


def make_namespace(target: Target, name: str) -> Kubectl:
    """A restricted namespace with credentials for S3."""
    for item in demo_job.team_objects(target, name):
        target.kubectl.apply(item)
    return target.kubectl.inside(name)


def team_of(target: Target, namespace: Kubectl) -> Team:
    """A team in `namespace` of the target's cluster."""
    return Team(namespace, target.storage, target.storage_spec.endpoint or "")


def upload_tiny_model(directory: Path, storage: Storage) -> None:
    """Put a model where the team's jobs look for it."""
    for path in directory.iterdir():
        storage.upload(path, f"{TINY_MODEL}/{path.name}")
