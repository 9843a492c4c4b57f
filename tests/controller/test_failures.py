"""Why a pod ended: one pod a row, class and reason out."""

from datetime import UTC, datetime
from typing import Any

import cluster_objects as o
import pytest

from finetune_operator.attempts import KEPT, merge
from finetune_operator.children import parse_job, parse_pod
from finetune_operator.failures import failure_of
from finetune_operator.observe import Child

TAKEN = [{"type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager"}]
DIVERGED = o.failed_report("train", "Diverged", "Diverged", "loss is nan at step 12")


def deleted(pod: o.Raw) -> o.Raw:
    return {**pod, "metadata": {**pod["metadata"], "deletionTimestamp": o.END}}


PODS: dict[str, tuple[o.Raw, str, str, str]] = {
    "the cluster's word comes before the exit code": (
        o.ended("train", 11, conditions=TAKEN),
        "Preempted",
        "Disrupted",
        "DeletionByTaintManager",
    ),
    "the cluster's word comes before the trainer's": (
        o.ended("train", 14, DIVERGED, conditions=TAKEN),
        "Preempted",
        "Disrupted",
        "DeletionByTaintManager",
    ),
    "the trainer's word comes before the exit code": (
        o.ended("train", 14, DIVERGED),
        "Diverged",
        "Diverged",
        "loss is nan at step 12",
    ),
    "a killed container ran out of memory": (
        o.ended("train", 137, reason="OOMKilled"),
        "OutOfMemory",
        "OutOfMemory",
        "OOMKilled",
    ),
    "a killed preflight names the setting that only the platform team can raise": (
        o.ended("preflight", 137, reason="OOMKilled"),
        "OutOfMemory",
        "OutOfMemory",
        "The preflight pod used more memory than its limit",
    ),
    "a kill without that reason is the machine's": (
        o.ended("train", 137),
        "Infrastructure",
        "Internal",
        "exit code 137, SIGKILL, Error",
    ),
    "a code of the table without a report keeps its class": (
        o.ended("train", 12),
        "Credentials",
        "AccessDenied",
        "without a report",
    ),
    "state was saved when asked to stop": (o.ended("train", 75), "Preempted", "Preempted", "asked to stop"),
    "words that are no report are shown": (
        o.ended("train", 1, "Segmentation fault"),
        "Infrastructure",
        "Internal",
        "Segmentation fault",
    ),
    "a pod that was evicted for its own disk asks for a larger one": (
        o.pod("train", phase="Failed", reason="Evicted", message='Usage of EmptyDir volume "work" exceeds the limit'),
        "Settings",
        "ScratchFull",
        "EmptyDir volume",
    ),
    "a pod that was evicted otherwise has no container to ask": (
        o.pod("train", phase="Failed", reason="Evicted", message="The node was low on resource: inodes"),
        "Infrastructure",
        "Internal",
        "Evicted): The node was low on resource",
    ),
    "a pod that was deleted before its trainer could listen was taken away": (
        deleted(o.ended("train", 143)),
        "Preempted",
        "Disrupted",
        "it was deleted",
    ),
    "a crash is told by its signal": (
        o.ended("train", 139),
        "Infrastructure",
        "Internal",
        "exit code 139, SIGSEGV",
    ),
}


@pytest.mark.parametrize(("raw", "failure_class", "reason", "says"), PODS.values(), ids=PODS)
def test_failure(raw: o.Raw, failure_class: str, reason: str, says: str) -> None:
    found = failure_of(parse_pod(raw))
    assert (found.failure_class, found.reason) == (failure_class, reason)
    assert says in found.message
    assert found.advice


def test_a_failure_says_where_it_happened() -> None:
    found = failure_of(parse_pod(o.ended("train", 139)))
    assert (found.container, found.node) == ("tune-train-0-abcde/trainer", "node-1")


def test_the_advice_on_memory_fits_the_pod() -> None:
    checking, training = (failure_of(parse_pod(o.ended(k, 137, reason="OOMKilled"))) for k in ("preflight", "train"))
    assert "preflight_memory" in checking.advice
    assert "resources.memory" in training.advice


def test_texts_fit_the_schema_whatever_the_trainer_says() -> None:
    raw = o.ended("train", 11, o.failed_report("train", "Data", "DatasetInvalid", "x" * 3000))
    assert len(failure_of(parse_pod(raw)).message) == 1024


def child(*pods: o.Raw, **job: Any) -> Child:
    return Child(
        job=parse_job(o.child_job("train", *job.pop("conditions", ()), **job)), pods=tuple(map(parse_pod, pods))
    )


def test_history_remembers_pods_that_are_gone_and_keeps_the_newest() -> None:
    now = datetime(2026, 1, 31, 13, tzinfo=UTC)
    first = merge([], child(o.ended("train", 20, name="first")), suspended=False, now=now)
    both = merge(first, child(o.running("train", name="second")), suspended=False, now=now)
    assert [(a.pod, a.outcome) for a in both] == [("first", "Failed"), ("second", "Running")]
    gone = merge(both, None, suspended=False, now=now)
    assert (gone[1].outcome, gone[1].reason, gone[1].finished_at) == ("Preempted", "Disrupted", "2026-01-31T13:00:00Z")
    ended = merge(both, child(conditions=(o.condition("Complete"),)), suspended=False, now=now)
    assert (ended[1].outcome, ended[1].finished_at) == ("Succeeded", o.END)
    many = merge(both, child(*(o.ended("train", 75, name=f"p{n}") for n in range(30))), suspended=False, now=now)
    assert [a.pod for a in many] == [f"p{n}" for n in range(30 - KEPT, 30)]


def test_a_pod_that_has_left_a_full_history_does_not_come_back() -> None:
    now = datetime(2026, 1, 31, 13, tzinfo=UTC)
    pods = child(*(o.ended("train", 75, name=f"p{n:02}") for n in range(30)))
    first = merge([], pods, suspended=False, now=now)
    assert merge(first, pods, suspended=False, now=now) == first
