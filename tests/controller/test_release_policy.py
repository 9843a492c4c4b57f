"""Deletion of a job whose output goes with it: stopped, cleaned up, let go; and let go in time whatever happens."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import cluster_objects as o
import pytest
from scenarios import NOW, TRAIN, VALIDATED, Known, decision, words

from finetune_api.conditions import Reason
from finetune_api.names import Kind
from finetune_api.report import CleanupSummary
from finetune_operator import clock
from finetune_operator.actions import CreateJob
from finetune_operator.observe import Refusal, RefusalKind

FINALIZER = "finetune.dev/artifacts"
DELETE: o.Raw = {"output": {"uri": "s3://out/tune", "onDelete": "delete"}}
CLEANUP = o.child_job("cleanup")


def leaving(seconds_ago: float = 10, *finalizers: str) -> o.Raw:
    stamp = clock.stamp(NOW - timedelta(seconds=seconds_ago))
    return {"deletionTimestamp": stamp, "finalizers": list(finalizers or (FINALIZER,))}


def cleaned(*left: str) -> o.Raw:
    return o.ended("cleanup", 0, o.report("cleanup", cleanup=CleanupSummary(removed=1234, left=list(left))))


def refused(message: str, kind: RefusalKind = RefusalKind.REFUSED) -> dict[Kind, Refusal]:
    return {"cleanup": Refusal(kind=kind, message=message)}


@dataclass(frozen=True, kw_only=True)
class Case(Known):
    """What is known, what is done and what is told."""

    actions: tuple[str, ...] = ()
    event: tuple[str, str] | None = None
    """Reason and part of the note."""
    says: str = ""
    again: bool = False
    """Whether the job is looked at again though nothing happens."""


LET_GO = "hold by "
CASES = {
    "a job that keeps its output is left to Kubernetes": Case(metadata={"deletionTimestamp": o.END}),
    "a job without our finalizer too": Case(spec=DELETE, metadata=leaving(10, "theirs/one")),
    "the output is cleaned up": Case(
        spec=DELETE, metadata=leaving(), actions=("create cleanup",), says="Removing the job's output", again=True
    ),
    "but not while a trainer writes there": Case(
        spec=DELETE,
        status=VALIDATED,
        metadata=leaving(),
        jobs=(TRAIN,),
        pods=(o.running("train"),),
        actions=("suspend train",),
        says="Waiting for the job's pods to end",
        again=True,
    ),
    "a stopped trainer holds nothing up": Case(
        spec=DELETE,
        status=VALIDATED,
        metadata=leaving(),
        jobs=(o.child_job("train", spec={"suspend": True}),),
        actions=("create cleanup",),
        says="Removing",
        again=True,
    ),
    "the clean-up is waited for": Case(
        spec=DELETE, metadata=leaving(), jobs=(CLEANUP,), pods=(o.running("cleanup"),), says="Removing", again=True
    ),
    "and then the job is let go": Case(
        spec=DELETE,
        metadata=leaving(10, "theirs/one", FINALIZER),
        jobs=(CLEANUP,),
        pods=(cleaned(),),
        actions=("delete cleanup", "hold by theirs/one"),
        event=("ArtifactsDeleted", "1,234 objects under s3://out/tune were removed"),
    ),
    "what was left is told": Case(
        spec=DELETE,
        metadata=leaving(),
        jobs=(CLEANUP,),
        pods=(cleaned("s3://out/tune/runs/0001/adapter: it is served"),),
        actions=("delete cleanup", LET_GO),
        event=("ArtifactsLeft", "left are s3://out/tune/runs/0001/adapter: it is served"),
    ),
    "a clean-up that fails lets the job go": Case(
        spec=DELETE,
        metadata=leaving(),
        jobs=(o.child_job("cleanup", o.condition("Failed", "BackoffLimitExceeded")),),
        pods=(
            o.ended("cleanup", 12, o.failed_report("cleanup", "Credentials", Reason.ACCESS_DENIED, "refused the key")),
        ),
        actions=("delete cleanup", LET_GO),
        event=("ArtifactsLeft", "What lies under s3://out/tune is left: refused the key"),
    ),
    "so does one that takes too long": Case(
        spec=DELETE,
        metadata=leaving(901),
        jobs=(CLEANUP,),
        pods=(o.pod("cleanup"),),
        actions=("delete cleanup", LET_GO),
        event=("ArtifactsLeft", "not done within 15m00s"),
    ),
    "and a trainer that does not end": Case(
        spec=DELETE,
        status=VALIDATED,
        metadata=leaving(901),
        jobs=(TRAIN,),
        pods=(o.running("train"),),
        actions=(LET_GO,),
        event=("ArtifactsLeft", "not done within 15m00s"),
    ),
    "a namespace that is terminating takes no Job": Case(
        spec=DELETE,
        metadata=leaving(),
        refusals=refused("unable to create new content in namespace t because it is being terminated"),
        actions=(LET_GO,),
        event=("ArtifactsLeft", "it is being terminated"),
    ),
    "a foreign Job of that name is not touched": Case(
        spec=DELETE,
        metadata=leaving(),
        refusals=refused("tune-cleanup", RefusalKind.FOREIGN),
        actions=(LET_GO,),
        event=("ArtifactsLeft", "tune-cleanup"),
    ),
    "a quota may come free": Case(
        spec=DELETE, metadata=leaving(), refusals=refused("exceeded quota: small"), says="Removing", again=True
    ),
    "a spec that cannot be read lets the job go": Case(
        spec={"output": {"uri": 7}},
        metadata=leaving(),
        actions=(LET_GO,),
        event=("ArtifactsLeft", "the stored spec is not valid"),
    ),
    "a status that cannot be read too": Case(
        spec=DELETE, status={"phase": 7}, metadata=leaving(), actions=("create cleanup",), says="Removing", again=True
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_case(case: Case) -> None:
    made = decision(case)
    assert tuple(map(words, made.actions)) == case.actions
    assert [milestone.reason for milestone in made.milestones] == ([case.event[0]] if case.event else [])
    assert case.event is None or case.event[1] in made.milestones[0].note
    assert case.says in made.status.message
    assert (made.recheck_after is not None) is case.again


def test_the_finalizer_is_there_before_anything_is_created_and_only_when_asked_for() -> None:
    (held,) = decision(Known(spec=DELETE, metadata={"finalizers": ["theirs/one"]})).actions
    assert words(held) == f"hold by theirs/one {FINALIZER}"
    assert words(decision(Known(spec=DELETE, metadata={"finalizers": [FINALIZER]})).actions[0]) == "create preflight"
    assert words(decision(Known()).actions[0]) == "create preflight"


def test_the_clean_up_job_outlives_its_owners_dependents_and_cleans_up_after_itself() -> None:
    (create,) = decision(Known(spec=DELETE, metadata=leaving())).actions
    assert isinstance(create, CreateJob)
    manifest: Any = create.manifest
    assert "ownerReferences" not in manifest["metadata"]
    assert manifest["metadata"]["labels"]["finetune.dev/job-uid"] == o.UID
    assert manifest["spec"]["ttlSecondsAfterFinished"] == 3600
    container = manifest["spec"]["template"]["spec"]["containers"][0]
    assert container["args"] == ["cleanup"]
    assert container["resources"]["requests"]["memory"] == "2Gi"
