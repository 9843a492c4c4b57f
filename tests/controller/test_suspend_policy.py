"""Suspension: nothing new is begun, pods get time to save their state, and a result that is there counts."""

import cluster_objects as o
import pytest
from scenarios import PASSED, PREFLIGHT, TRAIN, TRAINED, VALIDATED, Scenario, check

SUSPENDED: o.Raw = {"suspend": True}

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
    "a preflight in a queue is taken out of it, because the queue would let it go on": Scenario(
        spec=SUSPENDED,
        jobs=(o.child_job("preflight", spec=SUSPENDED, queue="checks"),),
        phase="Suspended",
        reason="SuspendedByUser",
        actions=("delete preflight",),
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
        jobs=(o.child_job("train", spec=SUSPENDED),),
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
