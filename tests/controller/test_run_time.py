"""The budget of run time: attempts add up, and the pod saves its state before the job fails."""

from datetime import timedelta

import cluster_objects as o
import pytest
from scenarios import NOW, TRAIN, TRAINED, VALIDATED, Known, Scenario, check, decide_again, decision

from finetune_operator import clock
from finetune_operator.admin import Admin


def hours(count: float) -> o.Raw:
    return {"limits": {"maxRunSeconds": int(3600 * count)}}


def run_before(seconds: int) -> o.Raw:
    return {**VALIDATED, "runSeconds": seconds}


# A running pod of `o` started 20 minutes before NOW, one that has ended ran for 10 minutes.
RUNNING = o.running("train")
STOPPED = o.child_job("train", spec={"suspend": True})

SCENARIOS = {
    "training within its budget goes on": Scenario(
        spec=hours(1),
        status=VALIDATED,
        jobs=(TRAIN,),
        pods=(RUNNING,),
        phase="Running",
        reason="TrainerRunning",
    ),
    "training that has used its budget up is asked to stop": Scenario(
        spec=hours(0.25),
        status=VALIDATED,
        jobs=(TRAIN,),
        pods=(RUNNING,),
        phase="Running",
        reason="RunTimeExceeded",
        actions=("suspend train",),
        says="waiting for the pod to save its state",
    ),
    "the platform team's bound holds where the job has none or a larger one": Scenario(
        spec=hours(2),
        status=VALIDATED,
        admin=Admin(max_run_seconds=900),
        jobs=(TRAIN,),
        pods=(RUNNING,),
        phase="Running",
        reason="RunTimeExceeded",
        actions=("suspend train",),
    ),
    "the end by the platform team's bound names its setting": Scenario(
        status=run_before(3000),
        admin=Admin(max_run_seconds=3600),
        jobs=(o.child_job("train", status={"failed": 1}),),
        pods=(o.ended("train", 75, name="a"),),
        phase="Failed",
        reason="RunTimeExceeded",
        says="1h00m in all (admin.maxRunSeconds of the chart)",
    ),
    "earlier attempts count": Scenario(
        spec=hours(1),
        status=run_before(3000),
        jobs=(TRAIN,),
        pods=(RUNNING,),
        phase="Running",
        reason="RunTimeExceeded",
        actions=("suspend train",),
    ),
    "an attempt that has just ended counts": Scenario(
        spec=hours(1),
        status=run_before(3000),
        jobs=(o.child_job("train", status={"failed": 1}),),
        pods=(o.ended("train", 75, name="a"),),
        phase="Failed",
        reason="RunTimeExceeded",
    ),
    "the job waits for the pod to go": Scenario(
        spec=hours(0.25),
        status=VALIDATED,
        jobs=(STOPPED,),
        pods=(RUNNING,),
        phase="Running",
        reason="RunTimeExceeded",
    ),
    "the job fails once the pod is gone": Scenario(
        spec=hours(0.25),
        status=run_before(1000),
        jobs=(STOPPED,),
        phase="Failed",
        reason="RunTimeExceeded",
        says="15m00s in all (limits.maxRunSeconds)",
    ),
    "a job whose budget is used up gets no other child Job": Scenario(
        spec=hours(0.25),
        status=run_before(1000),
        phase="Failed",
        reason="RunTimeExceeded",
    ),
    "clocks that disagree do not start it again": Scenario(
        spec=hours(0.25),
        status={
            **run_before(899),
            "conditions": [
                {
                    "type": "Reconciling",
                    "status": "True",
                    "reason": "RunTimeExceeded",
                    "message": "",
                    "lastTransitionTime": o.END,
                    "observedGeneration": 1,
                }
            ],
        },
        jobs=(STOPPED,),
        phase="Failed",
        reason="RunTimeExceeded",
    ),
    "a result that came before counts": Scenario(
        spec=hours(0.1),
        status=VALIDATED,
        jobs=(TRAIN,),
        pods=(TRAINED,),
        phase="Complete",
        reason="AdapterReady",
    ),
    "a suspended job is not ended by its budget": Scenario(
        spec={**hours(0.1), "suspend": True},
        status=run_before(1000),
        jobs=(STOPPED,),
        phase="Suspended",
        reason="SuspendedByUser",
    ),
}


@pytest.mark.parametrize("case", SCENARIOS.values(), ids=SCENARIOS)
def test_scenario(case: Scenario) -> None:
    check(case)


def test_the_job_is_looked_at_when_its_budget_ends() -> None:
    known = Known(spec=hours(1), status=run_before(600), jobs=(TRAIN,), pods=(RUNNING,))
    assert decision(known).recheck_after == 3600 - 600 - 1200


def test_time_between_attempts_is_not_run_time_and_each_attempt_is_counted_once() -> None:
    later = clock.stamp(NOW - timedelta(minutes=2))
    second = o.running("train", name="b")
    second["status"]["containerStatuses"][0]["state"]["running"]["startedAt"] = later
    known = Known(spec=hours(1), status=VALIDATED, jobs=(TRAIN,), pods=(o.ended("train", 75, name="a"), second))
    first = decision(known)
    assert first.status.run_seconds == 600
    assert first.recheck_after == 3600 - 600 - 120
    again = decide_again(known, first)
    assert (again.status.run_seconds, again.recheck_after) == (600, first.recheck_after)
