"""Clean-up: a child Job that is gone before its result is in status would be run again."""

import cluster_objects as o
import pytest
from scenarios import COMPLETE, TRAINED, VALIDATED, Scenario, check, final

A_MINUTE: o.Raw = {"limits": {"ttlSecondsAfterFinished": 60}}

SCENARIOS = {
    "clean-up waits for the final status": Scenario(
        spec=A_MINUTE,
        status=VALIDATED,
        jobs=(o.child_job("train", COMPLETE),),
        pods=(TRAINED,),
        phase="Complete",
        reason="AdapterReady",
    ),
    "clean-up follows the final status": Scenario(
        spec=A_MINUTE,
        status=final("Complete", "AdapterReady"),
        jobs=(o.child_job("train", COMPLETE), o.child_job("preflight", COMPLETE, spec={"ttlSecondsAfterFinished": 60})),
        phase="Complete",
        reason="AdapterReady",
        actions=("remove train after 60 s",),
    ),
}


@pytest.mark.parametrize("case", SCENARIOS.values(), ids=SCENARIOS)
def test_scenario(case: Scenario) -> None:
    check(case)
