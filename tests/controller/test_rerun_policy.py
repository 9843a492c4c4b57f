"""A changed spec.runId runs a job again, and nothing else does."""

import cluster_objects as o
import pytest
from scenarios import (
    COMPLETE,
    PREFLIGHT,
    TRAIN,
    TRAINED,
    VALIDATED,
    Known,
    Scenario,
    check,
    decide_again,
    decision,
    final,
)

AGAIN: o.Raw = {"runId": "nightly-2"}
BEGUN: o.Raw = {"observedGeneration": 1}
DONE: o.Raw = {**final("Complete", "AdapterReady"), **BEGUN, "gpuSeconds": 600}
"""A finished job of the first run, which had no name."""

SCENARIOS = {
    "a finished job with another runId begins again": Scenario(
        spec=AGAIN,
        status=DONE,
        phase="Validating",
        reason="PreflightRunning",
        actions=("create preflight",),
    ),
    "once its former Jobs are gone": Scenario(
        spec=AGAIN,
        status=DONE,
        jobs=(o.child_job("preflight", COMPLETE), o.child_job("train", COMPLETE)),
        pods=(TRAINED,),
        phase="Pending",
        reason="Rerun",
        actions=("delete preflight", "delete train"),
        says="Run nightly-2 begins",
    ),
    "they are deleted once": Scenario(
        spec=AGAIN,
        status=DONE,
        jobs=(o.child_job("train", COMPLETE, deletionTimestamp=o.END),),
        phase="Pending",
        reason="Rerun",
    ),
    "a failed job begins again too": Scenario(
        spec=AGAIN,
        status={**final("Failed", "Diverged"), **BEGUN},
        phase="Validating",
        reason="PreflightRunning",
        actions=("create preflight",),
    ),
    "a run that is under way is stopped": Scenario(
        spec=AGAIN,
        status={**VALIDATED, **BEGUN, "runId": "nightly-1"},
        jobs=(TRAIN,),
        pods=(o.running("train"),),
        phase="Pending",
        reason="Rerun",
        actions=("delete train",),
    ),
    "a finished job of the same run stays as it is": Scenario(
        spec=AGAIN,
        status={**DONE, "runId": "nightly-2"},
        phase="Complete",
        reason="AdapterReady",
    ),
    "so does one without any, whose Jobs are long gone": Scenario(
        status=DONE,
        phase="Complete",
        reason="AdapterReady",
    ),
    "a new job with a runId simply begins": Scenario(
        spec=AGAIN,
        jobs=(PREFLIGHT,),
        phase="Validating",
        reason="PreflightRunning",
    ),
    "a suspended job does not begin again before it is resumed": Scenario(
        spec={**AGAIN, "suspend": True},
        status=DONE,
        phase="Suspended",
        reason="SuspendedByUser",
    ),
}


@pytest.mark.parametrize("case", SCENARIOS.values(), ids=SCENARIOS)
def test_scenario(case: Scenario) -> None:
    check(case)


def test_the_status_of_the_former_run_is_gone() -> None:
    known = Known(spec=AGAIN, status={**DONE, "attempts": []}, jobs=(o.child_job("train", COMPLETE),))
    leaving = decision(known).status
    assert (leaving.run_id, leaving.data, leaving.gpu_seconds) == (None, None, 0)
    begun = decide_again(Known(spec=AGAIN), decision(known)).status
    assert begun.run_id == "nightly-2"
    assert begun.spec_digest != o.DIGEST
