"""Kubernetes objects as the API server sends them, small, for tests of the operator's decisions."""

from typing import Any

from finetune_api import API_VERSION, KIND
from finetune_api.digest import spec_digest
from finetune_api.names import INDEX_LABEL, JOB_LABEL, KIND_LABEL, MANAGED_BY, MANAGER, QUEUE_LABEL, Kind, child_name
from finetune_api.report import (
    Artifact,
    DataSummary,
    Estimate,
    EvaluationResult,
    Failure,
    MetricResult,
    PreparedData,
    ResolvedSetting,
    TrainerReport,
    TrainingSummary,
)
from finetune_api.spec.job import FinetuneJobSpec

Raw = dict[str, Any]

NAMESPACE = "team-a"
NAME = "tune"
UID = "uid-of-tune"
START = "2026-01-31T12:00:00Z"
END = "2026-01-31T12:10:00Z"

SPEC: Raw = {
    "model": {"uri": "s3://models/base"},
    "data": {"train": [{"uri": "s3://data/train.jsonl"}]},
    "output": {"uri": "s3://out/tune"},
}
DIGEST = spec_digest(FinetuneJobSpec.model_validate(SPEC))
DATA = DataSummary(
    digest="sha256:abc",
    train_rows=200,
    validation_rows=20,
    test_rows=40,
    train_tokens=12000,
    supervised_tokens=4000,
    longest_row=90,
    truncated_rows=0,
    left_out_rows=2,
    bad_rows=3,
    duplicate_rows=5,
    report_uri="s3://out/tune/data_report.html",
)
PREPARED = PreparedData(uri="s3://out/tune/prepared.json", digest="sha256:123")
RESOLVED = [ResolvedSetting(name="training.learningRate", value="0.0002", why="lora of sft")]
ESTIMATE = Estimate(memory_bytes=5 * 2**30, parts={"weights": 5 * 2**30}, steps=30, tokens=36000)
ARTIFACT = Artifact(
    uri="s3://out/tune/runs/0001/adapter", digest="sha256:def", size_bytes=1024, verified=True, loss_difference=0.0
)
EVALUATION = EvaluationResult(
    rows=40,
    metrics=[
        MetricResult(
            name="exact_match", higher_is_better=True, baseline=0.05, tuned=0.82, low=0.6, high=0.9, interval="tango"
        )
    ],
)
TRAINING = TrainingSummary(steps=30, tokens=36000, weight=12000.0, final_loss=0.4321, tokens_per_second=153.4)


def finetune_job(spec: Raw | None = None, status: Raw | None = None, **metadata: Any) -> Raw:
    """A FinetuneJob; `spec` is merged over the smallest one."""
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {
            "namespace": NAMESPACE,
            "name": NAME,
            "uid": UID,
            "resourceVersion": "10",
            "generation": 1,
            "creationTimestamp": START,
            **metadata,
        },
        "spec": {**SPEC, **(spec or {})},
        "status": status or {},
    }


def child_job(
    kind: Kind, *conditions: Raw, spec: Raw | None = None, status: Raw | None = None, queue: str = "", **metadata: Any
) -> Raw:
    """A Job of ours, with its true conditions."""
    queued = {QUEUE_LABEL: queue} if queue else {}
    return {
        "metadata": {
            "namespace": NAMESPACE,
            "name": child_name(NAME, kind),
            "uid": f"uid-of-{kind}",
            "resourceVersion": "20",
            "creationTimestamp": START,
            "labels": {MANAGED_BY: MANAGER, JOB_LABEL: NAME, KIND_LABEL: kind, **queued},
            "ownerReferences": [
                {"apiVersion": API_VERSION, "kind": KIND, "name": NAME, "uid": UID, "controller": True}
            ],
            **metadata,
        },
        "spec": {"backoffLimit": 3, **(spec or {})},
        "status": {"conditions": list(conditions), **(status or {})},
    }


def workload(kind: Kind, *conditions: Raw, active: bool = True, queue: str = "gpus", **metadata: Any) -> Raw:
    """Kueue's Workload of a Job of ours, as Kueue makes it: without our labels, but with the Job's pod template."""
    template = {"metadata": {"labels": {MANAGED_BY: MANAGER, JOB_LABEL: NAME, KIND_LABEL: kind}}}
    return {
        "metadata": {
            "namespace": NAMESPACE,
            "name": f"job-{child_name(NAME, kind)}-1a2b3",
            "uid": f"uid-of-workload-of-{kind}",
            "resourceVersion": "25",
            "creationTimestamp": START,
            "ownerReferences": [
                {
                    "apiVersion": "batch/v1",
                    "kind": "Job",
                    "name": child_name(NAME, kind),
                    "uid": f"uid-of-{kind}",
                    "controller": True,
                }
            ],
            **metadata,
        },
        "spec": {"active": active, "queueName": queue, "podSets": [{"name": "main", "template": template}]},
        "status": {"conditions": list(conditions)},
    }


def verdict(kind: str, reason: str, message: str, *, holds: bool = True, since: str = START) -> Raw:
    """A condition of a Workload."""
    status = "True" if holds else "False"
    return {"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": since}


def condition(kind: str, reason: str = "", message: str = "") -> Raw:
    """A condition that holds."""
    return {"type": kind, "status": "True", "reason": reason, "message": message, "lastTransitionTime": END}


def pod(
    kind: Kind, state: Raw | None = None, *, name: str = "", index: int = 0, phase: str = "Pending", **status: Any
) -> Raw:
    """A pod of a child Job with its container's state."""
    name = name or f"{NAME}-{kind}-{index}-abcde"
    containers = [{"name": "trainer", "state": state}] if state is not None else []
    return {
        "metadata": {
            "namespace": NAMESPACE,
            "name": name,
            "uid": f"uid-of-{name}",
            "resourceVersion": "30",
            "creationTimestamp": START,
            "labels": {MANAGED_BY: MANAGER, JOB_LABEL: NAME, KIND_LABEL: kind, INDEX_LABEL: str(index)},
            "ownerReferences": [
                {"apiVersion": "batch/v1", "kind": "Job", "name": "any", "uid": f"uid-of-{kind}", "controller": True}
            ],
        },
        "spec": {"nodeName": "node-1"},
        "status": {"phase": phase, "containerStatuses": containers, **status},
    }


def running(kind: Kind, **changes: Any) -> Raw:
    """A pod whose trainer is at work."""
    return pod(kind, {"running": {"startedAt": START}}, phase="Running", **changes)


def ended(kind: Kind, code: int, message: str = "", *, reason: str = "Error", at: str = END, **changes: Any) -> Raw:
    """A pod whose trainer has ended."""
    terminated = {"exitCode": code, "reason": reason, "message": message, "startedAt": START, "finishedAt": at}
    return pod(kind, {"terminated": terminated}, phase="Failed" if code else "Succeeded", **changes)


def report(kind: Kind, **parts: Any) -> str:
    """A trainer's last words."""
    content = {"kind": kind, "outcome": "succeeded", "spec_digest": DIGEST, **parts}
    return TrainerReport(**content).model_dump_json(exclude_none=True)


def failed_report(
    kind: Kind, failure_class: Any, reason: Any, message: str, *, retryable: bool = False, **parts: Any
) -> str:
    """A trainer's last words when it failed."""
    why = Failure(failure_class=failure_class, reason=reason, message=message, advice="Do this.", retryable=retryable)
    return report(kind, outcome="failed", failure=why, **parts)


def passed() -> str:
    """Preflight's report when all is well."""
    return report("preflight", data=DATA, prepared=PREPARED, settings=RESOLVED, estimate=ESTIMATE)


def trained() -> str:
    """Training's report when all is well."""
    return report("train", data=DATA, training=TRAINING, evaluation=EVALUATION, artifact=ARTIFACT, epoch=1)
