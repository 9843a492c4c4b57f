"""Suspension: nothing new is begun, pods get time to save their state, and a result that is there counts."""

from datetime import timedelta

import cluster_objects as o
import pytest
from scenarios import NOW, PASSED, PREFLIGHT, TRAIN, TRAINED, VALIDATED, Scenario, check

from finetune_api.names import MANAGER, SUSPENDED_BY

SUSPENDED: o.Raw = {"suspend": True}
QUEUED = o.child_job("train", spec=SUSPENDED, queue="gpus")
ADMITTED = o.child_job("train", queue="gpus")
LET_IN = o.verdict("Admitted", "Admitted", "The workload is admitted")
OUT = o.workload("train", active=False, annotations={SUSPENDED_BY: MANAGER})
JUST_NOW = (NOW - timedelta(seconds=5)).isoformat()

SCENARIOS = {
    "a job suspended from the start creates nothing": Scenario(
        spec=SUSPENDED,
        phase="Suspended",
        reason="SuspendedByUser",
    ),
    "a suspended job's preflight result is kept, its training not begun": Scenario(
        spec=SUSPENDED,
        jobs=(PREFLIGHT,),
        pods=(PASSED,),
        phase="Suspended",
        reason="SuspendedByUser",
        actions=("suspend preflight",),
    ),
    "a Job in a queue is taken out of it and not suspended, because Kueue would undo that": Scenario(
        spec=SUSPENDED,
        status=VALIDATED,
        jobs=(QUEUED,),
        workloads=(o.workload("train"),),
        phase="Suspended",
        reason="SuspendedByUser",
        actions=("take out train",),
    ),
    "a preflight in a queue of its own is taken out in the same way": Scenario(
        spec=SUSPENDED,
        jobs=(o.child_job("preflight", spec=SUSPENDED, queue="checks"),),
        workloads=(o.workload("preflight", queue="checks"),),
        phase="Suspended",
        reason="SuspendedByUser",
        actions=("take out preflight",),
    ),
    "a Job that its queue has let run is taken out too, and stops": Scenario(
        spec=SUSPENDED,
        status=VALIDATED,
        jobs=(ADMITTED,),
        pods=(o.running("train"),),
        workloads=(o.workload("train", LET_IN),),
        phase="Running",
        reason="SuspendedByUser",
        actions=("take out train",),
        says="Stopping",
    ),
    "a Job that its queue is about to start is not suspended yet": Scenario(
        spec=SUSPENDED,
        status=VALIDATED,
        jobs=(ADMITTED,),
        workloads=(OUT,),
        phase="Starting",
        reason="SuspendedByUser",
        says="Stopping",
    ),
    "a Job that is out of its queue stays out": Scenario(
        spec=SUSPENDED,
        status=VALIDATED,
        jobs=(QUEUED,),
        workloads=(OUT,),
        phase="Suspended",
        reason="SuspendedByUser",
    ),
    "a Job that Kueue has not looked at yet needs nothing": Scenario(
        spec=SUSPENDED,
        status=VALIDATED,
        jobs=(QUEUED,),
        phase="Suspended",
        reason="SuspendedByUser",
    ),
    "a running Job of a queue that the operator does not look at can only be removed": Scenario(
        kueue=False,
        spec=SUSPENDED,
        status=VALIDATED,
        jobs=(ADMITTED,),
        pods=(o.running("train"),),
        phase="Running",
        reason="SuspendedByUser",
        actions=("delete train",),
        says="Stopping",
    ),
    "a resumed job's Job is put back into its queue, which decides when it goes on": Scenario(
        status=VALIDATED,
        jobs=(QUEUED,),
        workloads=(OUT,),
        phase="Queued",
        reason="Queued",
        actions=("put back train",),
    ),
    "a Job that somebody else has taken out of its queue is not put back": Scenario(
        status=VALIDATED,
        jobs=(QUEUED,),
        workloads=(
            o.workload("train", o.verdict("Evicted", "Deactivated", "The workload is deactivated"), active=False),
        ),
        phase="Suspended",
        reason="Deactivated",
        says="kubectl patch workload job-tune-train-1a2b3",
    ),
    "a Job that somebody else has suspended is not resumed": Scenario(
        status=VALIDATED,
        jobs=(o.child_job("train", spec=SUSPENDED),),
        phase="Suspended",
        reason="SuspendedElsewhere",
        says="Job tune-train was suspended, and not by this operator",
    ),
    "a Job that was just created suspended may yet turn out to be Kueue's": Scenario(
        status=VALIDATED,
        jobs=(o.child_job("train", spec=SUSPENDED, creationTimestamp=JUST_NOW),),
        phase="Starting",
        reason="TrainerStarting",
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
        jobs=(o.child_job("train", spec=SUSPENDED),),
        phase="Suspended",
        reason="SuspendedByUser",
    ),
    "a resumed job's Job goes on": Scenario(
        status=VALIDATED,
        jobs=(o.child_job("train", spec=SUSPENDED, annotations={SUSPENDED_BY: MANAGER}),),
        phase="Starting",
        reason="TrainerStarting",
        actions=("resume train",),
    ),
    "a result that came before suspension counts": Scenario(
        spec=SUSPENDED,
        status=VALIDATED,
        jobs=(TRAIN,),
        pods=(TRAINED,),
        phase="Complete",
        reason="AdapterReady",
    ),
}


@pytest.mark.parametrize("case", SCENARIOS.values(), ids=SCENARIOS)
def test_scenario(case: Scenario) -> None:
    check(case)
