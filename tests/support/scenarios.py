"""Scenarios for the decision, objects in and decision out, and what holds for each of them."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import get_args

import cluster_objects as o

from finetune_api.conditions import ConditionType, Reason
from finetune_api.names import Kind
from finetune_api.progress import Progress
from finetune_operator import conditions
from finetune_operator.actions import Action, CreateJob, DeleteJob, SetActive, SetFinalizers, SetTtl, SuspendJob
from finetune_operator.admin import Admin
from finetune_operator.cache import Cache
from finetune_operator.children import parse_job, parse_pod
from finetune_operator.decide import Decision, decide
from finetune_operator.gang import as_one
from finetune_operator.observe import Key, Observed, Refusal, parse_finetune_job
from finetune_operator.settings import Settings
from finetune_operator.status import status_patch
from finetune_operator.workloads import parse_workload

KEY = Key(o.NAMESPACE, o.NAME)
NOW = datetime(2026, 1, 31, 12, 20, tzinfo=UTC)
SETTINGS = Settings(trainer_image="registry.test/trainer@sha256:1")

VALIDATED: o.Raw = {
    "image": "registry.test/trainer@sha256:old",
    "data": {
        "digest": "sha256:abc",
        "trainRows": 200,
        "validationRows": 20,
        "testRows": 40,
        "trainTokens": 12000,
        "supervisedTokens": 4000,
        "truncatedRows": 0,
        "preparedUri": "s3://out/tune/prepared.json",
        "preparedDigest": "sha256:123",
    },
}
"""The status of a job whose preflight has passed."""
COMPLETE = o.condition("Complete")
LACK = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes: no GPU"}
PREFLIGHT = o.child_job("preflight")
TRAIN = o.child_job("train")
PASSED = o.ended("preflight", 0, o.passed())
TRAINED = o.ended("train", 0, o.trained())


@dataclass(frozen=True, kw_only=True)
class Known:
    """What a decision rests on, as objects of the cluster."""

    spec: o.Raw = field(default_factory=dict)
    status: o.Raw = field(default_factory=dict)
    metadata: o.Raw = field(default_factory=dict)
    jobs: tuple[o.Raw, ...] = ()
    pods: tuple[o.Raw, ...] = ()
    workloads: tuple[o.Raw, ...] = ()
    position: int | None = None
    """In the queue, of training."""
    kueue: bool = True
    """Whether the operator works with Kueue."""
    admin: Admin = field(default_factory=Admin)
    """What the platform team allows."""
    refusals: dict[Kind, Refusal] = field(default_factory=dict)
    progress: Progress | None = None
    gpu_memory_bytes: int | None = None


@dataclass(frozen=True, kw_only=True)
class Scenario(Known):
    """What is known, and what must follow."""

    phase: str
    reason: str
    """Of the headline: Complete, Failed, Suspended, else Reconciling."""
    actions: tuple[str, ...] = ()
    says: str = ""
    """Part of status.message."""


def final(kind: str, reason: str) -> o.Raw:
    """The status of a job that has ended."""
    claim = {"type": kind, "status": "True", "reason": reason, "message": "", "lastTransitionTime": o.END}
    return {**VALIDATED, "phase": kind, "conditions": [{**claim, "observedGeneration": 1}]}


def storage_down(kind: Kind) -> str:
    """The last words of a trainer that can be tried again."""
    return o.failed_report(kind, "Infrastructure", Reason.STORAGE_UNAVAILABLE, "S3 says 503", retryable=True)


def decision(known: Known) -> Decision:
    """What the operator makes of it."""
    cache = Cache()
    for raw in known.jobs:
        cache.put_job(parse_job(raw))
    for raw in known.pods:
        cache.put_pod(parse_pod(raw))
    for raw in known.workloads:
        workload = parse_workload(raw)
        assert workload is not None
        cache.put_workload(workload)
    train = cache.child(KEY, o.UID, "train")
    observed = Observed(
        preflight=cache.child(KEY, o.UID, "preflight"),
        train=as_one(replace(train, position=known.position) if train is not None else None),
        cleanup=cache.child(KEY, o.UID, "cleanup"),
        progress=known.progress,
        gpu_memory_bytes=known.gpu_memory_bytes,
        refusals=known.refusals,
    )
    job = parse_finetune_job(o.finetune_job(known.spec, known.status, **known.metadata))
    return decide(job, observed, NOW, replace(SETTINGS, kueue=known.kueue, admin=known.admin))


def decide_again(known: Known, first: Decision) -> Decision:
    """What the operator makes of the same facts once it has stored its status."""
    return decision(replace(known, status=first.status.model_dump(mode="json", exclude_none=True)))


def words(action: Action) -> str:
    """An action as a table of scenarios names it."""
    match action:
        case CreateJob():
            return f"create {action.kind}"
        case DeleteJob():
            return f"delete {_kind(action.name)}"
        case SuspendJob():
            return f"{'suspend' if action.suspend else 'resume'} {_kind(action.name)}"
        case SetActive():
            return f"{'put back' if action.active else 'take out'} {_kind(action.name)}"
        case SetTtl():
            return f"remove {_kind(action.name)} after {action.seconds} s"
        case SetFinalizers():
            return f"hold by {' '.join(action.finalizers)}"


def headline(made: Decision) -> str:
    """The reason that people read first."""
    kinds = (ConditionType.COMPLETE, ConditionType.FAILED, ConditionType.SUSPENDED)
    found = [conditions.find(made.status.conditions, kind) for kind in kinds]
    true = [item for item in found if item is not None and item.status == "True"]
    moving = conditions.find(made.status.conditions, ConditionType.RECONCILING)
    return true[0].reason if true else moving.reason if moving is not None else ""


def check(case: Scenario) -> None:
    """What must follow does, and so does what holds for every decision."""
    made = decision(case)
    _expect("phase", made.status.phase, case.phase)
    _expect("reason", headline(made), case.reason)
    _expect("actions", tuple(map(words, made.actions)), case.actions)
    assert case.says in made.status.message, f"the message lacks {case.says!r}: {made.status.message!r}"
    _expect("phase by the conditions", conditions.phase(made.status.conditions), made.status.phase)
    _check_settled(case, made)


def _check_settled(case: Scenario, first: Decision) -> None:
    """The operator looks at a job many times between two events, and each look may write."""
    changed = status_patch(first.status, decide_again(case, first).status)
    # Counts deletions, and here the Job that was deleted is still there.
    changed.pop("lostReports", None)
    assert not changed, f"deciding again on the same facts changes the status: {changed}"


def _expect(what: str, found: object, expected: object) -> None:
    assert found == expected, f"{what}: {found!r}, expected {expected!r}"


def _kind(name: str) -> str:
    """Of a Job, or of the Workload that Kueue names after it."""
    return next(kind for kind in get_args(Kind) if f"{o.NAME}-{kind}" in name)
