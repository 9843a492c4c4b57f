"""What a job that was ended leaves at work."""

import cluster_objects as o
import pytest
from scenarios import COMPLETE, PREFLIGHT, TRAIN, TRAINED, Scenario, check, final

FAILED = o.condition("Failed")

SCENARIOS = {
    "a child Job that could start another pod is removed": Scenario(
        status=final("Failed", "ImagePullFailed"),
        jobs=(TRAIN,),
        pods=(o.pod("train"),),
        phase="Failed",
        reason="ImagePullFailed",
        actions=("delete train",),
    ),
    "preflight's too": Scenario(
        status=final("Failed", "VolumeMissing"),
        jobs=(PREFLIGHT,),
        phase="Failed",
        reason="VolumeMissing",
        actions=("delete preflight",),
    ),
    "one that has ended stays, for its logs": Scenario(
        status=final("Failed", "DatasetInvalid"),
        jobs=(o.child_job("preflight", FAILED), o.child_job("train", COMPLETE)),
        phase="Failed",
        reason="DatasetInvalid",
    ),
    "one whose pod has ended well is about to end": Scenario(
        status=final("Failed", "Internal"),
        jobs=(TRAIN,),
        pods=(TRAINED,),
        phase="Failed",
        reason="Internal",
    ),
    "a complete job's is about to end": Scenario(
        status=final("Complete", "AdapterReady"),
        jobs=(TRAIN,),
        pods=(TRAINED,),
        phase="Complete",
        reason="AdapterReady",
    ),
}


@pytest.mark.parametrize("case", SCENARIOS.values(), ids=SCENARIOS)
def test_scenario(case: Scenario) -> None:
    check(case)
