"""A child Job that ended well without a readable report runs again, but not for ever."""

from datetime import timedelta

import cluster_objects as o
import pytest
from scenarios import COMPLETE, NOW, VALIDATED, Scenario, check

JUST_ENDED = {**COMPLETE, "lastTransitionTime": (NOW - timedelta(seconds=3)).isoformat()}

SCENARIOS = {
    "the pod of a Job that has just ended may not have been heard of": Scenario(
        jobs=(o.child_job("preflight", JUST_ENDED),),
        phase="Validating",
        reason="PreflightRunning",
    ),
    "a pod that seems to run although its Job has ended is waited for": Scenario(
        jobs=(o.child_job("preflight", COMPLETE),),
        pods=(o.running("preflight"),),
        phase="Validating",
        reason="PreflightRunning",
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
