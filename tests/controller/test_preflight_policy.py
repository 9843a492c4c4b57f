"""Preflight: from a new FinetuneJob to validated data, and what keeps it from getting there."""

import cluster_objects as o
import pytest
from scenarios import COMPLETE, LACK, PASSED, PREFLIGHT, Known, Scenario, check, decide_again, decision, storage_down

from finetune_api.conditions import ConditionType, Reason
from finetune_api.progress import Progress
from finetune_operator.actions import CreateJob
from finetune_operator.conditions import find

FAILED = o.condition("Failed", "PodFailurePolicy", "exit code 11")
BAD_DATA = o.failed_report("preflight", "Data", Reason.DATASET_INVALID, "train.jsonl:7: not JSON")
QUEUED = o.child_job("preflight", spec={"suspend": True}, queue="checks")
WAITING = o.workload(
    "preflight", o.verdict("QuotaReserved", "Pending", "insufficient unused quota", holds=False), queue="checks"
)
TAKEN_BACK = {"type": "DisruptionTarget", "status": "True", "reason": "DeletionByJobController"}
ADOPTED = o.report("preflight", data=o.DATA, artifact=o.ARTIFACT, evaluation=o.EVALUATION, adopted=True)

SCENARIOS = {
    "a new job is checked first": Scenario(
        phase="Validating",
        reason="PreflightRunning",
        actions=("create preflight",),
        says="on a CPU",
    ),
    "a running preflight is waited for": Scenario(
        jobs=(PREFLIGHT,),
        pods=(o.running("preflight"),),
        phase="Validating",
        reason="PreflightRunning",
    ),
    "a running preflight tells how many rows it has checked": Scenario(
        jobs=(PREFLIGHT,),
        pods=(o.running("preflight"),),
        progress=Progress(stage="validating", rows=1200000, bytes=370, total_bytes=1000),
        phase="Validating",
        reason="PreflightRunning",
        says="Checking data: 1,200,000 rows",
    ),
    "a preflight in a queue is left to the queue": Scenario(
        jobs=(QUEUED,),
        workloads=(WAITING,),
        phase="Queued",
        reason="WaitingForQuota",
        says="Waiting in queue checks: insufficient unused quota",
    ),
    "a preflight that its queue took back waits there again": Scenario(
        jobs=(QUEUED,),
        pods=(o.ended("preflight", 143, conditions=[TAKEN_BACK]),),
        workloads=(WAITING,),
        phase="Queued",
        reason="WaitingForQuota",
        says="Waiting in queue checks",
    ),
    "a preflight that no node takes says so": Scenario(
        jobs=(PREFLIGHT,),
        pods=(o.pod("preflight", conditions=[LACK]),),
        phase="Validating",
        reason="Unschedulable",
        says="Waiting for a node: 0/1 nodes: no GPU",
    ),
    "a passed preflight starts training in the same pass": Scenario(
        jobs=(PREFLIGHT,),
        pods=(PASSED,),
        phase="Starting",
        reason="TrainerStarting",
        actions=("create train",),
    ),
    "a preflight of an older image ends the job, because training needs what it prepared": Scenario(
        jobs=(PREFLIGHT,),
        pods=(o.ended("preflight", 0, o.report("preflight", data=o.DATA)),),
        phase="Failed",
        reason="Internal",
        says="does not say what it has found and prepared",
    ),
    "a preflight that finds the adapter completes the job": Scenario(
        jobs=(PREFLIGHT,),
        pods=(o.ended("preflight", 0, ADOPTED),),
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
        pods=(o.ended("preflight", 20, storage_down("preflight")),),
        phase="Validating",
        reason="Retrying",
        says="attempt 2 of 4 after StorageUnavailable",
    ),
    "a terminating Job is waited for": Scenario(
        jobs=(o.child_job("preflight", COMPLETE, deletionTimestamp=o.END),),
        phase="Validating",
        reason="PreflightRunning",
    ),
}


@pytest.mark.parametrize("case", SCENARIOS.values(), ids=SCENARIOS)
def test_scenario(case: Scenario) -> None:
    check(case)


# What can be wrong with a job, as preflight reports it: class, reason, exit code, words.
FINDINGS = {
    "a bad row": (
        "Data",
        Reason.DATASET_INVALID,
        11,
        "1 row cannot be used\ns3://data/train.jsonl:7: not JSON; repair it",
    ),
    "no rows": ("Data", Reason.DATASET_EMPTY, 11, "data.test: s3://data/test.jsonl holds no rows"),
    "no file": ("Data", Reason.DATASET_NOT_FOUND, 11, "s3://data/train.jsonl holds nothing"),
    "no model": ("Settings", Reason.MODEL_NOT_FOUND, 10, "s3://models/base holds nothing"),
    "settings that clash": ("Settings", Reason.SETTINGS_INVALID, 10, "needs 95Gi of GPU memory, a GPU has 80Gi"),
    "keys that are refused": ("Credentials", Reason.ACCESS_DENIED, 12, "S3 refused to read s3://data/train.jsonl"),
}


@pytest.mark.parametrize(("failure_class", "reason", "code", "words"), FINDINGS.values(), ids=FINDINGS)
def test_what_preflight_refuses_is_told_in_validated_and_never_reaches_the_gpu_queue(
    failure_class: str, reason: Reason, code: int, words: str
) -> None:
    last_words = o.failed_report("preflight", failure_class, reason, words)
    known = Known(jobs=(o.child_job("preflight", FAILED),), pods=(o.ended("preflight", code, last_words),))
    made = decision(known)
    validated = find(made.status.conditions, ConditionType.VALIDATED)
    assert validated is not None
    assert (validated.status, validated.reason, validated.message) == ("False", reason, words)
    assert made.actions == ()
    assert decide_again(known, made).actions == ()


def test_a_failed_preflight_points_to_the_report_on_the_data() -> None:
    last_words = o.failed_report("preflight", "Data", Reason.DATASET_INVALID, "bad", data=o.DATA, report_uri="s3://r")
    made = decision(Known(jobs=(o.child_job("preflight", FAILED),), pods=(o.ended("preflight", 11, last_words),)))
    assert made.status.failure is not None
    assert made.status.failure.report_uri == "s3://out/tune/data_report.html"
    # What was not validated must not look as if it had been.
    assert made.status.data is None


def test_a_passed_preflight_tells_what_it_found() -> None:
    known = Known(jobs=(PREFLIGHT,), pods=(PASSED,))
    made = decision(known)
    validated = find(made.status.conditions, ConditionType.VALIDATED)
    assert validated is not None
    assert validated.message == (
        "Model, data and storage are usable: 200 training rows with 12,000 tokens (33% supervised), "
        "20 validation rows, 40 test rows; 3 bad rows in quarantine; "
        "2 rows left out because they are validation or test rows too; "
        "training needs about 5Gi of GPU memory, and how much a GPU has is not known"
    )
    assert [(each.name, each.value) for each in made.status.settings] == [("training.learningRate", "0.0002")]
    assert made.status.estimate is not None
    assert made.status.estimate.memory == "5Gi"


def test_only_preflight_is_told_the_memory_of_a_gpu_and_only_training_what_was_prepared() -> None:
    (checking,) = decision(Known(gpu_memory_bytes=80 * 2**30)).actions
    (training,) = decision(Known(jobs=(PREFLIGHT,), pods=(PASSED,), gpu_memory_bytes=80 * 2**30)).actions
    assert isinstance(checking, CreateJob)
    assert isinstance(training, CreateJob)
    assert '"gpuMemoryBytes":85899345920' in str(checking.manifest)
    assert "preparedDigest" not in str(checking.manifest)
    assert '"preparedDigest":"sha256:123"' in str(training.manifest)
    assert "gpuMemoryBytes" not in str(training.manifest)


def test_progress_of_preflight_is_shown_while_it_runs_and_no_longer() -> None:
    progress = Progress(stage="validating", rows=1200000, bytes=370, total_bytes=1000)
    running = Known(jobs=(PREFLIGHT,), pods=(o.running("preflight"),), progress=progress)
    status = decision(running).status
    assert status.progress is not None
    assert (status.progress.stage, status.progress.percent, status.progress.rows) == ("validating", "37%", 1200000)
    stored = status.model_dump(mode="json", exclude_none=True)
    passed = Known(status=stored, jobs=(PREFLIGHT,), pods=(PASSED,), progress=progress)
    assert decision(passed).status.progress is None
