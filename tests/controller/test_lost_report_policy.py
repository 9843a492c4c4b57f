"""A child Job that ended well without a readable report runs again, but not for ever."""

import cluster_objects as o
import pytest
from scenarios import COMPLETE, VALIDATED, Scenario, check

SCENARIOS = {
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
}


@pytest.mark.parametrize("case", SCENARIOS.values(), ids=SCENARIOS)
def test_scenario(case: Scenario) -> None:
    check(case)
