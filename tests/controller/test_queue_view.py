"""Kueue's side of a job: each state of a Workload, and what the job then tells."""

from datetime import timedelta

import cluster_objects as o
import pytest
from scenarios import NOW, VALIDATED, Known, Scenario, check, decide_again, decision

from finetune_api.conditions import ConditionType
from finetune_operator.conditions import find

QUEUED = o.child_job("train", spec={"suspend": True}, queue="gpus")
ADMITTED = o.child_job("train", queue="gpus", status={"active": 1})
PREEMPTION = (
    "Preempted to accommodate a workload (UID: f190d7dc, JobUID: 9e2118ff) due to prioritization in the ClusterQueue; "
    "preemptor path: /gpus; preemptee path: /gpus"
)
LACKING = "couldn't assign flavors to pod set main: insufficient unused quota for example.com/gpu in flavor default"
EVICTED = o.verdict("Evicted", "Preempted", PREEMPTION)
LET_IN = o.verdict("Admitted", "Admitted", "The workload is admitted")
RESERVED = o.verdict("QuotaReserved", "QuotaReserved", "Quota reserved in ClusterQueue gpus")


def refused(reason: str, message: str) -> o.Raw:
    return o.verdict("QuotaReserved", reason, message, holds=False)


def ago(seconds: float) -> str:
    return (NOW - timedelta(seconds=seconds)).isoformat()


def with_check(state: str, message: str) -> o.Raw:
    workload = o.workload("train", RESERVED)
    check = {"name": "provisioning", "state": state, "message": message, "lastTransitionTime": o.START}
    return {**workload, "status": {**workload["status"], "admissionChecks": [check]}}


SCENARIOS = {
    "training joins its queue": Scenario(
        spec={"scheduling": {"queue": "gpus"}},
        status=VALIDATED,
        phase="Queued",
        reason="Queued",
        actions=("create train",),
        says="Waiting in queue gpus",
    ),
    "a queue is refused by an operator that works without Kueue, before anything is created": Scenario(
        kueue=False,
        spec={"scheduling": {"queue": "gpus"}},
        status=VALIDATED,
        phase="Starting",
        reason="QueueUnavailable",
        says="set the chart value kueue.enabled",
    ),
    "a Job that Kueue has not looked at waits": Scenario(
        status=VALIDATED,
        jobs=(o.child_job("train", spec={"suspend": True}, queue="gpus", creationTimestamp=ago(5)),),
        phase="Queued",
        reason="Queued",
    ),
    "a Job that Kueue does not look at says so": Scenario(
        status=VALIDATED,
        jobs=(QUEUED,),
        phase="Queued",
        reason="NotQueued",
        says="Kueue takes no notice of Job tune-train in queue gpus",
    ),
    "a Workload that was just made waits": Scenario(
        status=VALIDATED,
        jobs=(QUEUED,),
        workloads=(o.workload("train"),),
        phase="Queued",
        reason="Queued",
        says="Waiting in queue gpus",
    ),
    "quota that others hold is told in Kueue's words": Scenario(
        status=VALIDATED,
        jobs=(QUEUED,),
        workloads=(o.workload("train", refused("Pending", LACKING)),),
        position=3,
        phase="Queued",
        reason="WaitingForQuota",
        says=f"Waiting in queue gpus, place 3: {LACKING}",
    ),
    "a request that no quota can ever hold needs somebody's help": Scenario(
        status=VALIDATED,
        jobs=(QUEUED,),
        workloads=(o.workload("train", refused("Pending", "request (3) > maximum capacity (1)")),),
        phase="Queued",
        reason="ExceedsQuota",
        says="maximum capacity (1)",
    ),
    "a flavor that is too small for ever is no obstacle where another is merely full": Scenario(
        status=VALIDATED,
        jobs=(QUEUED,),
        workloads=(o.workload("train", refused("Pending", f"request (3) > maximum capacity (1), {LACKING}")),),
        phase="Queued",
        reason="WaitingForQuota",
    ),
    "a missing LocalQueue is named": Scenario(
        status=VALIDATED,
        jobs=(QUEUED,),
        workloads=(o.workload("train", refused("Inadmissible", "LocalQueue gpus doesn't exist")),),
        phase="Queued",
        reason="QueueNotFound",
        says="LocalQueue gpus doesn't exist",
    ),
    "a stopped LocalQueue is named": Scenario(
        status=VALIDATED,
        jobs=(QUEUED,),
        workloads=(o.workload("train", refused("Inadmissible", "LocalQueue gpus is inactive")),),
        phase="Queued",
        reason="QueueStopped",
        says="LocalQueue gpus is inactive",
    ),
    "a stopped queue is named where Kueue tells finer reasons": Scenario(
        status=VALIDATED,
        jobs=(QUEUED,),
        workloads=(o.workload("train", refused("Suspended", "ClusterQueue all is inactive")),),
        phase="Queued",
        reason="QueueStopped",
        says="ClusterQueue all is inactive",
    ),
    "a namespace that the ClusterQueue does not serve is told": Scenario(
        status=VALIDATED,
        jobs=(QUEUED,),
        workloads=(o.workload("train", refused("Misconfigured", "Workload namespace doesn't match selector")),),
        phase="Queued",
        reason="Inadmissible",
        says="doesn't match selector",
    ),
    "a resource that the ClusterQueue has no quota of is told": Scenario(
        status=VALIDATED,
        jobs=(QUEUED,),
        workloads=(o.workload("train", refused("Pending", "resource ephemeral-storage unavailable in ClusterQueue")),),
        phase="Queued",
        reason="Inadmissible",
        says="resource ephemeral-storage unavailable in ClusterQueue",
    ),
    "quota is set aside while admission checks go on": Scenario(
        status=VALIDATED,
        jobs=(QUEUED,),
        workloads=(with_check("Pending", "Waiting for 1 node"),),
        phase="Queued",
        reason="QuotaReserved",
        says="provisioning: Waiting for 1 node",
    ),
    "an admitted Job starts": Scenario(
        status=VALIDATED,
        jobs=(ADMITTED,),
        workloads=(o.workload("train", RESERVED, LET_IN),),
        phase="Starting",
        reason="TrainerStarting",
    ),
    "an admitted Job runs": Scenario(
        status=VALIDATED,
        jobs=(ADMITTED,),
        pods=(o.running("train"),),
        workloads=(o.workload("train", RESERVED, LET_IN),),
        phase="Running",
        reason="TrainerRunning",
    ),
    "a Job that was admitted a moment ago may still be suspended": Scenario(
        status=VALIDATED,
        jobs=(QUEUED,),
        workloads=(o.workload("train", RESERVED, {**LET_IN, "lastTransitionTime": ago(5)}),),
        phase="Starting",
        reason="TrainerStarting",
    ),
    "a Job that is admitted and stays suspended is named": Scenario(
        status=VALIDATED,
        jobs=(QUEUED,),
        workloads=(o.workload("train", RESERVED, LET_IN),),
        phase="Starting",
        reason="AdmittedNotStarted",
        says="Job tune-train is still suspended",
    ),
    "a preempted trainer saves its state": Scenario(
        status=VALIDATED,
        jobs=(QUEUED,),
        pods=(o.running("train"),),
        workloads=(o.workload("train", EVICTED, RESERVED, LET_IN),),
        phase="Running",
        reason="Preempted",
        says="Saving its state and ending. Stopped by queue gpus: Preempted to accommodate a workload due to",
    ),
    "a preempted Job waits again": Scenario(
        status=VALIDATED,
        jobs=(QUEUED,),
        pods=(o.ended("train", 75),),
        workloads=(o.workload("train", EVICTED, refused("Pending", LACKING)),),
        position=1,
        phase="Queued",
        reason="Preempted",
        says=f"prioritization in the ClusterQueue. Waiting in queue gpus, place 1: {LACKING}",
    ),
    "a Job that its queue stopped for another reason says which": Scenario(
        status=VALIDATED,
        jobs=(QUEUED,),
        workloads=(o.workload("train", o.verdict("Evicted", "LocalQueueStopped", "The LocalQueue is stopped")),),
        phase="Queued",
        reason="Evicted",
        says="Stopped by queue gpus: The LocalQueue is stopped",
    ),
    "a Job that is let in again starts, though it was once stopped, and that is no retry": Scenario(
        status=VALIDATED,
        jobs=(ADMITTED,),
        pods=(o.ended("train", 75),),
        workloads=(o.workload("train", {**EVICTED, "status": "False"}, RESERVED, LET_IN),),
        phase="Starting",
        reason="TrainerStarting",
    ),
    "a Job that was put back waits and was not evicted": Scenario(
        status=VALIDATED,
        jobs=(QUEUED,),
        workloads=(
            o.workload(
                "train", o.verdict("Evicted", "Deactivated", "The workload is deactivated"), refused("Pending", LACKING)
            ),
        ),
        phase="Queued",
        reason="WaitingForQuota",
        says=LACKING,
    ),
    "a Job that was just put back is not told that it is out": Scenario(
        status=VALIDATED,
        jobs=(QUEUED,),
        workloads=(o.workload("train", refused("Pending", "The workload is deactivated")),),
        phase="Queued",
        reason="Queued",
    ),
    "a limit of Kueue's that takes a Job out of its queue is told, and how to put it back": Scenario(
        status=VALIDATED,
        jobs=(QUEUED,),
        workloads=(
            o.workload(
                "train",
                o.verdict(
                    "Evicted",
                    "DeactivatedDueToRequeuingLimitExceeded",
                    "The workload is deactivated due to exceeding the maximum number of re-queuing retries",
                ),
                active=False,
            ),
        ),
        phase="Suspended",
        reason="Deactivated",
        says="exceeding the maximum number of re-queuing retries. To put it back: kubectl patch workload",
    ),
    "a Job that names no queue and is held by Kueue all the same says what is missing": Scenario(
        status=VALIDATED,
        jobs=(o.child_job("train", spec={"suspend": True}),),
        workloads=(o.workload("train", refused("Inadmissible", "LocalQueue  doesn't exist"), queue=""),),
        phase="Queued",
        reason="QueueNotFound",
        says="Kueue holds the Job, which names no queue",
    ),
}


@pytest.mark.parametrize("case", SCENARIOS.values(), ids=SCENARIOS)
def test_scenario(case: Scenario) -> None:
    check(case)


STALLED = {"QueueUnavailable", "NotQueued", "ExceedsQuota", "QueueNotFound", "Inadmissible", "AdmittedNotStarted"}


@pytest.mark.parametrize("case", SCENARIOS.values(), ids=SCENARIOS)
def test_a_job_counts_as_stalled_only_where_somebody_must_help_it(case: Scenario) -> None:
    stalled = find(decision(case).status.conditions, ConditionType.STALLED)
    assert (stalled is not None) == (case.reason in STALLED | {"Deactivated"})


def test_kueue_is_believed_only_for_a_while_and_time_alone_ends_that() -> None:
    young = o.child_job("train", spec={"suspend": True}, queue="gpus", creationTimestamp=ago(5))
    admitted = o.workload("train", RESERVED, {**LET_IN, "lastTransitionTime": ago(10)})
    assert decision(Known(status=VALIDATED, jobs=(young,))).recheck_after == 25
    assert decision(Known(status=VALIDATED, jobs=(QUEUED,), workloads=(admitted,))).recheck_after == 20


def test_the_condition_tells_waiting_admission_and_the_end() -> None:
    waiting = Known(status=VALIDATED, jobs=(QUEUED,), workloads=(o.workload("train", refused("Pending", LACKING)),))
    first = decision(waiting)
    running = Known(
        status=first.status.model_dump(mode="json", exclude_none=True),
        jobs=(ADMITTED,),
        pods=(o.running("train"),),
        workloads=(o.workload("train", RESERVED, LET_IN),),
    )
    second = decision(running)
    ended = Known(
        status=second.status.model_dump(mode="json", exclude_none=True),
        jobs=(ADMITTED,),
        pods=(o.ended("train", 0, o.trained()),),
        workloads=(o.workload("train", RESERVED, LET_IN),),
    )
    third = decision(ended)
    told = [find(made.status.conditions, ConditionType.QUEUED) for made in (first, second, third)]
    assert [(each.status, each.reason) for each in told if each is not None] == [
        ("True", "WaitingForQuota"),
        ("False", "Admitted"),
        ("False", "Finished"),
    ]
    assert [milestone.reason for made in (first, second, third) for milestone in made.milestones] == [
        "PreflightPassed",
        "WaitingForQuota",
        "Admitted",
        "TrainerRunning",
        "AdapterReady",
    ]


def test_status_names_queue_workload_and_place_and_forgets_the_place_with_admission() -> None:
    workload = o.workload("train", refused("Pending", LACKING))
    waiting = decision(Known(status=VALIDATED, jobs=(QUEUED,), workloads=(workload,), position=7)).status.queue
    admitted = decision(
        Known(status=VALIDATED, jobs=(ADMITTED,), workloads=(o.workload("train", RESERVED, LET_IN),), position=7)
    ).status.queue
    assert waiting is not None
    assert (waiting.name, waiting.workload, waiting.position) == ("gpus", "job-tune-train-1a2b3", 7)
    assert waiting.message == LACKING
    assert admitted is not None
    assert (admitted.position, admitted.message) == (None, "The workload is admitted")


def test_an_attempt_whose_pod_its_queue_took_away_unseen_was_preempted() -> None:
    running = Known(
        status=VALIDATED,
        jobs=(ADMITTED,),
        pods=(o.running("train"),),
        workloads=(o.workload("train", RESERVED, LET_IN),),
    )
    gone = Known(jobs=(QUEUED,), workloads=(o.workload("train", EVICTED, refused("Pending", LACKING)),))
    (attempt,) = decide_again(gone, decision(running)).status.attempts
    assert (attempt.outcome, attempt.reason) == ("Preempted", "Preempted")


def test_preemption_is_a_milestone_and_no_warning() -> None:
    running = Known(
        status=VALIDATED,
        jobs=(ADMITTED,),
        pods=(o.running("train"),),
        workloads=(o.workload("train", RESERVED, LET_IN),),
    )
    evicted = Known(
        jobs=(QUEUED,), pods=(o.running("train"),), workloads=(o.workload("train", EVICTED, RESERVED, LET_IN),)
    )
    (milestone,) = decide_again(evicted, decision(running)).milestones
    assert (milestone.type, milestone.reason) == ("Normal", "Preempted")
