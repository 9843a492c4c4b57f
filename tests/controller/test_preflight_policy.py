"""Preflight: from a new FinetuneJob to validated data, and what keeps it from getting there."""

import cluster_objects as o
import pytest
from scenarios import COMPLETE, LACK, PASSED, PREFLIGHT, Scenario, check, storage_down

from finetune_api.conditions import Reason

FAILED = o.condition("Failed", "PodFailurePolicy", "exit code 11")
BAD_DATA = o.failed_report("preflight", "Data", Reason.DATASET_INVALID, "train.jsonl:7: not JSON")
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
