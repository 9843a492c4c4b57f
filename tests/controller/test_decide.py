"""What follows from what is known: one scenario a row, objects in, decision out."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import cluster_objects as o
import pytest

from finetune_api.conditions import ConditionType, Reason
from finetune_api.names import Kind
from finetune_api.progress import Progress
from finetune_operator import conditions
from finetune_operator.cache import Cache
from finetune_operator.children import parse_job, parse_pod
from finetune_operator.decide import Decision, decide
from finetune_operator.observe import Observed, Refusal, RefusalKind, parse_finetune_job
from finetune_operator.settings import Settings

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
    },
}
COMPLETE = o.condition("Complete")
FAILED = o.condition("Failed", "PodFailurePolicy", "exit code 11")
EXHAUSTED = o.condition("Failed", "BackoffLimitExceeded", "too many failures")
SUSPENDED: o.Raw = {"suspend": True}
LACK = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes: no GPU"}
TAKEN_AWAY = {"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"}
BAD_DATA = o.failed_report("preflight", "Data", Reason.DATASET_INVALID, "train.jsonl:7: not JSON")
STORAGE_DOWN = o.failed_report("train", "Infrastructure", Reason.STORAGE_UNAVAILABLE, "S3 says 503", retryable=True)


def final(kind: str, reason: str) -> o.Raw:
    claim = {"type": kind, "status": "True", "reason": reason, "message": "", "lastTransitionTime": o.END}
    return {**VALIDATED, "phase": kind, "conditions": [{**claim, "observedGeneration": 1}]}


def waiting(reason: str, message: str = "") -> o.Raw:
    return {"waiting": {"reason": reason, "message": message}}


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """What is known, and what must follow."""

    spec: o.Raw = field(default_factory=dict)
    status: o.Raw = field(default_factory=dict)
    metadata: o.Raw = field(default_factory=dict)
    jobs: tuple[o.Raw, ...] = ()
    pods: tuple[o.Raw, ...] = ()
    refusals: dict[Kind, Refusal] = field(default_factory=dict)
    progress: Progress | None = None

    phase: str
    reason: str
    """Of the headline: Complete, Failed, Suspended, else Reconciling."""
    actions: tuple[str, ...] = ()
    says: str = ""
    """Part of status.message."""


def refused(kind: RefusalKind, message: str) -> dict[Kind, Refusal]:
    return {"preflight": Refusal(kind=kind, message=message)}


PREFLIGHT = o.child_job("preflight")
TRAIN = o.child_job("train")
WELL = o.ended("preflight", 0, o.passed())

SCENARIOS = {
    "a new job is checked first": Scenario(
        phase="Validating", reason="PreflightRunning", actions=("create preflight",), says="on a CPU"
    ),
    "a running preflight is waited for": Scenario(
        jobs=(PREFLIGHT,), pods=(o.running("preflight"),), phase="Validating", reason="PreflightRunning"
    ),
    "a preflight that no node takes says so": Scenario(
        jobs=(PREFLIGHT,),
        pods=(o.pod("preflight", conditions=[LACK]),),
        phase="Validating",
        reason="Unschedulable",
        says="Waiting for a node: 0/1 nodes: no GPU",
    ),
    "a passed preflight starts training in the same pass": Scenario(
        jobs=(PREFLIGHT,), pods=(WELL,), phase="Starting", reason="TrainerStarting", actions=("create train",)
    ),
    "a preflight that finds the adapter completes the job": Scenario(
        jobs=(PREFLIGHT,),
        pods=(
            o.ended(
                "preflight",
                0,
                o.report("preflight", data=o.DATA, artifact=o.ARTIFACT, evaluation=o.EVALUATION, adopted=True),
            ),
        ),
        phase="Complete",
        reason="OutputAdopted",
    ),
    "bad data ends the job, naming the line": Scenario(
        jobs=(o.child_job("preflight", FAILED),),
        pods=(o.ended("preflight", 11, BAD_DATA),),
        phase="Failed",
        reason="DatasetInvalid",
        says="train.jsonl:7",
    ),
    "a failed pod is no failed job while the Job has not failed": Scenario(
        jobs=(o.child_job("preflight", status={"failed": 1}),),
        pods=(o.ended("preflight", 20, STORAGE_DOWN),),
        phase="Validating",
        reason="Retrying",
        says="attempt 2 of 4 after StorageUnavailable",
    ),
    "a preflight whose report is gone runs again": Scenario(
        jobs=(o.child_job("preflight", COMPLETE),),
        phase="Validating",
        reason="ReportLost",
        actions=("delete preflight",),
    ),
    "a report about other settings is nobody's": Scenario(
        jobs=(o.child_job("preflight", COMPLETE),),
        pods=(o.ended("preflight", 0, o.passed().replace(o.DIGEST, "sha256:other")),),
        phase="Validating",
        reason="ReportLost",
        actions=("delete preflight",),
    ),
    "a terminating Job is waited for": Scenario(
        jobs=(o.child_job("preflight", COMPLETE, deletionTimestamp=o.END),),
        phase="Validating",
        reason="PreflightRunning",
    ),
    "a foreign Job is a collision": Scenario(
        refusals=refused(RefusalKind.FOREIGN, "tune-preflight"),
        phase="Failed",
        reason="NameCollision",
        says="tune-preflight exists",
    ),
    "a leftover Job is waited for": Scenario(
        refusals=refused(RefusalKind.LEFTOVER, "Waiting for an earlier Job"),
        phase="Pending",
        reason="Pending",
    ),
    "a refused Job stalls and is tried again": Scenario(
        refusals=refused(RefusalKind.REFUSED, "exceeded quota"),
        phase="Pending",
        reason="CreateRefused",
        says="exceeded quota",
    ),
    "a validated job is trained": Scenario(
        status=VALIDATED, phase="Starting", reason="TrainerStarting", actions=("create train",)
    ),
    "a validated job needs its preflight Job no more": Scenario(
        status=VALIDATED, jobs=(TRAIN,), pods=(o.running("train"),), phase="Running", reason="TrainerRunning"
    ),
    "an image that cannot be pulled says so": Scenario(
        status=VALIDATED,
        jobs=(TRAIN,),
        pods=(o.pod("train", waiting("ImagePullBackOff", "no such image")),),
        phase="Starting",
        reason="ImagePullFailed",
        says="no such image",
    ),
    "a container that does not start hints at missing volumes": Scenario(
        status=VALIDATED,
        jobs=(TRAIN,),
        pods=(o.pod("train", waiting("ContainerCreating")),),
        phase="Starting",
        reason="TrainerStarting",
        says="Secret or ConfigMap",
    ),
    "a retry says what it follows": Scenario(
        status=VALIDATED,
        jobs=(o.child_job("train", status={"failed": 1}),),
        pods=(o.ended("train", 20, STORAGE_DOWN, name="a"), o.running("train", name="b")),
        phase="Running",
        reason="TrainerRunning",
        says="attempt 2 of 4 after StorageUnavailable",
    ),
    "a preempted attempt uses up no retry": Scenario(
        status=VALIDATED,
        jobs=(TRAIN,),
        pods=(o.ended("train", 143, conditions=[TAKEN_AWAY], name="a"), o.running("train", name="b")),
        phase="Running",
        reason="TrainerRunning",
        says="again after Disrupted",
    ),
    "a report completes the job before the Job controller has": Scenario(
        status=VALIDATED,
        jobs=(TRAIN,),
        pods=(o.ended("train", 0, o.trained()),),
        phase="Complete",
        reason="AdapterReady",
        says="s3://out/tune/runs/0001/adapter",
    ),
    "the last failure ends the job": Scenario(
        status=VALIDATED,
        jobs=(o.child_job("train", EXHAUSTED, status={"failed": 4}),),
        pods=(o.ended("train", 20, STORAGE_DOWN),),
        phase="Failed",
        reason="BackoffLimitExceeded",
        says="The last of 4 attempts failed with StorageUnavailable: S3 says 503",
    ),
    "a training report that is gone is asked for again": Scenario(
        status=VALIDATED,
        jobs=(o.child_job("train", COMPLETE),),
        phase="Starting",
        reason="ReportLost",
        actions=("delete train",),
    ),
    "a report that is lost again and again ends the job": Scenario(
        status={**VALIDATED, "lostReports": 3},
        jobs=(o.child_job("train", COMPLETE),),
        phase="Failed",
        reason="ReportLost",
        says="Job tune-train ended well",
    ),
    "a job suspended from the start creates nothing": Scenario(
        spec=SUSPENDED, phase="Suspended", reason="SuspendedByUser"
    ),
    "a suspended job's preflight result is kept, its training not begun": Scenario(
        spec=SUSPENDED, jobs=(PREFLIGHT,), pods=(WELL,), phase="Suspended", reason="SuspendedByUser",
        actions=("suspend preflight",),
    ),
    "a job is not suspended while its pod runs": Scenario(
        spec=SUSPENDED,
        status=VALIDATED,
        jobs=(TRAIN,),
        pods=(o.running("train"),),
        phase="Running",
        reason="SuspendedByUser",
        actions=("suspend train",),
        says="Stopping",
    ),
    "a job is suspended once its pod is gone": Scenario(
        spec=SUSPENDED,
        status=VALIDATED,
        jobs=(o.child_job("train", spec={"suspend": True}),),
        phase="Suspended",
        reason="SuspendedByUser",
    ),
    "a resumed job's Job goes on": Scenario(
        status=VALIDATED,
        jobs=(o.child_job("train", spec={"suspend": True}),),
        phase="Starting",
        reason="TrainerStarting",
        actions=("resume train",),
    ),
    "a result that came before suspension counts": Scenario(
        spec=SUSPENDED,
        status=VALIDATED,
        jobs=(TRAIN,),
        pods=(o.ended("train", 0, o.trained()),),
        phase="Complete",
        reason="AdapterReady",
    ),
    "a complete job whose children are gone stays as it is": Scenario(
        status=final("Complete", "AdapterReady"), phase="Complete", reason="AdapterReady"
    ),
    "a failed job whose children are gone stays as it is": Scenario(
        status=final("Failed", "Diverged"), phase="Failed", reason="Diverged"
    ),
    "a resumed final job creates nothing": Scenario(
        status=final("Failed", "Diverged"), metadata={"generation": 2}, phase="Failed", reason="Diverged"
    ),
    "clean-up waits for the final status": Scenario(
        spec={"limits": {"ttlSecondsAfterFinished": 60}},
        status=VALIDATED,
        jobs=(o.child_job("train", COMPLETE),),
        pods=(o.ended("train", 0, o.trained()),),
        phase="Complete",
        reason="AdapterReady",
    ),
    "clean-up follows the final status": Scenario(
        spec={"limits": {"ttlSecondsAfterFinished": 60}},
        status=final("Complete", "AdapterReady"),
        jobs=(o.child_job("train", COMPLETE), o.child_job("preflight", COMPLETE, spec={"ttlSecondsAfterFinished": 60})),
        phase="Complete",
        reason="AdapterReady",
        actions=("remove train after 60 s",),
    ),
    "a malformed spec fails, naming the field": Scenario(
        spec={"limits": {"retries": "many"}}, phase="Failed", reason="InvalidSpec", says="spec.limits.retries"
    ),
    "a spec that was malformed for an earlier operator is taken up": Scenario(
        status=final("Failed", "InvalidSpec") | {"data": None},
        phase="Validating",
        reason="PreflightRunning",
        actions=("create preflight",),
    ),
}  # fmt: skip


def decision(case: Scenario) -> Decision:
    cache = Cache()
    for raw in case.jobs:
        cache.put_job(parse_job(raw))
    for raw in case.pods:
        cache.put_pod(parse_pod(raw))
    observed = Observed(
        preflight=cache.child(o.UID, "preflight"),
        train=cache.child(o.UID, "train"),
        progress=case.progress,
        refusals=case.refusals,
    )
    job = parse_finetune_job(o.finetune_job(case.spec, case.status, **case.metadata))
    return decide(job, observed, NOW, SETTINGS)


def words(action: Any) -> str:
    match type(action).__name__:
        case "CreateJob":
            return f"create {action.kind}"
        case "SuspendJob":
            return ("suspend " if action.suspend else "resume ") + action.name.removeprefix("tune-")
        case "SetTtl":
            return f"remove {action.name.removeprefix('tune-')} after {action.seconds} s"
        case _:
            return f"delete {action.name.removeprefix('tune-')}"


def headline(made: Decision) -> str:
    kinds = (ConditionType.COMPLETE, ConditionType.FAILED, ConditionType.SUSPENDED)
    found = [conditions.find(made.status.conditions, kind) for kind in kinds]
    true = [item for item in found if item is not None and item.status == "True"]
    moving = conditions.find(made.status.conditions, ConditionType.RECONCILING)
    return true[0].reason if true else moving.reason if moving is not None else ""


@pytest.mark.parametrize("case", SCENARIOS.values(), ids=SCENARIOS)
def test_scenario(case: Scenario) -> None:
    made = decision(case)
    assert (made.status.phase, headline(made)) == (case.phase, case.reason)
    assert tuple(map(words, made.actions)) == case.actions
    assert case.says in made.status.message


@pytest.mark.parametrize("case", SCENARIOS.values(), ids=SCENARIOS)
def test_the_phase_says_nothing_that_the_conditions_do_not(case: Scenario) -> None:
    status = decision(case).status
    assert conditions.phase(status.conditions) == status.phase


@pytest.mark.parametrize("case", SCENARIOS.values(), ids=SCENARIOS)
def test_deciding_twice_on_the_same_facts_changes_nothing(case: Scenario) -> None:
    first = decision(case).status
    stored = first.model_dump(mode="json", exclude_none=True)
    again = decision(Scenario(**{**vars(case), "status": stored}))
    ignored = {"lost_reports", "conditions", "message", "phase", "failure", "progress", "finished_at"}
    assert again.status.model_dump(exclude=ignored) == first.model_dump(exclude=ignored)


def test_a_deleted_job_is_left_alone() -> None:
    made = decision(Scenario(metadata={"deletionTimestamp": o.END}, phase="", reason=""))
    assert made.actions == ()
    assert made.milestones == ()


def test_training_is_told_the_digest_that_was_validated_and_keeps_the_first_image() -> None:
    (create,) = decision(SCENARIOS["a validated job is trained"]).actions
    text = str(getattr(create, "manifest", ""))
    assert '"dataDigest":"sha256:abc"' in text
    assert "'image': 'registry.test/trainer@sha256:old'" in text


def test_both_reports_of_one_pass_reach_status() -> None:
    jobs = (o.child_job("preflight", COMPLETE), o.child_job("train", COMPLETE))
    status = decision(Scenario(jobs=jobs, pods=(WELL, o.ended("train", 0, o.trained())), phase="", reason="")).status
    assert status.data is not None
    assert status.artifact is not None
    assert status.evaluation is not None
    assert status.evaluation.summary == "exact_match 0.05 -> 0.82"
    assert status.phase == "Complete"


def test_a_complete_job_points_to_no_checkpoint_because_the_trainer_has_removed_them() -> None:
    saved = {**VALIDATED, "checkpoint": {"step": 40, "uri": "s3://out/c", "savedAt": o.END}}
    pods = (o.ended("train", 0, o.trained()),)
    case = Scenario(status=saved, jobs=(o.child_job("train", COMPLETE),), pods=pods, phase="", reason="")
    assert decision(case).status.checkpoint is None


def test_gpu_time_of_ended_attempts_is_counted_once() -> None:
    gpus = {"resources": {"gpus": {"count": 1}}}
    case = Scenario(
        spec=gpus,
        status=VALIDATED,
        jobs=(o.child_job("train", status={"failed": 1}),),
        pods=(o.ended("train", 20, name="a"), o.running("train", name="b")),
        phase="",
        reason="",
    )
    first = decision(case).status
    assert first.gpu_seconds == 600
    again = decision(Scenario(**{**vars(case), "status": first.model_dump(mode="json", exclude_none=True)})).status
    assert again.gpu_seconds == 600


def test_a_running_job_shows_progress_and_checkpoint() -> None:
    progress = Progress.model_validate(
        {
            "stage": "training",
            "step": 42,
            "total_steps": 100,
            "loss": 1.23456,
            "tokens_per_second": 152.7,
            "eta_seconds": 130,
            "checkpoint": {"step": 40, "uri": "s3://out/c", "saved_at": o.END},
        }
    )
    status = decision(
        Scenario(status=VALIDATED, jobs=(TRAIN,), pods=(o.running("train"),), progress=progress, phase="", reason="")
    ).status
    assert status.progress is not None
    shown = status.progress.model_dump(exclude={"stage", "step", "total_steps"})
    assert shown == {"percent": "42%", "loss": "1.2346", "tokensPerSecond": "153", "eta": "2m10s"}
    assert status.checkpoint is not None
    assert status.checkpoint.step == 40


@pytest.mark.parametrize(
    ("young", "left"),
    [(o.pod("train", waiting("ContainerCreating")), 55), (o.pod("train", conditions=[LACK]), 5)],
    ids=["creating", "unschedulable"],
)
def test_patience_with_a_starting_pod_ends_by_itself(young: o.Raw, left: float) -> None:
    metadata = {**young["metadata"], "creationTimestamp": (NOW - timedelta(seconds=5)).isoformat()}
    case = Scenario(status=VALIDATED, jobs=(TRAIN,), pods=({**young, "metadata": metadata},), phase="", reason="")
    made = decision(case)
    assert made.recheck_after == left
    assert made.status.message == "Starting the trainer on 1 nvidia.com/gpu"
