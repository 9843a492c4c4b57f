"""Deadlines of waiting: what keeps a job from going on is told at once and ends it in the end."""

from datetime import timedelta

import cluster_objects as o
import pytest
from scenarios import LACK, NOW, PREFLIGHT, TRAIN, VALIDATED, Known, Scenario, check, decision

from finetune_api.conditions import Reason
from finetune_api.names import Kind
from finetune_operator import clock
from finetune_operator.observe import Refusal, RefusalKind
from finetune_operator.policies.deadline import A_DAY, HALF_AN_HOUR

QUEUED: o.Raw = {"suspend": True}


def ago(seconds: float) -> str:
    return clock.stamp(NOW - timedelta(seconds=seconds))


def pod(kind: Kind, *, age: float, state: o.Raw | None = None, conditions: tuple[o.Raw, ...] = ()) -> o.Raw:
    """A pod that was created so many seconds ago, and got its node at once if a condition says so."""
    made = o.pod(kind, state, conditions=list(conditions))
    volumes = [{"secret": {"secretName": "s3-keys"}}, {"configMap": {"name": "s3-ca"}}]
    return {
        **made,
        "metadata": {**made["metadata"], "creationTimestamp": ago(age)},
        "spec": {**made["spec"], "volumes": volumes},
    }


def scheduled(age: float) -> o.Raw:
    return {"type": "PodScheduled", "status": "True", "lastTransitionTime": ago(age)}


def waiting(reason: str) -> o.Raw:
    return {"waiting": {"reason": reason, "message": "as the kubelet says"}}


def queued(age: float) -> o.Raw:
    suspended = {**o.condition("Suspended"), "lastTransitionTime": ago(age)}
    return o.child_job("train", suspended, spec=QUEUED, queue="gpus")


def refused(message: str) -> dict[Kind, Refusal]:
    return {"train": Refusal(kind=RefusalKind.REFUSED, message=message)}


def stalled(age: float, **more: o.Raw) -> o.Raw:
    claim = {"reason": "any", "message": "", "observedGeneration": 1}
    conditions = [{"type": "Stalled", "status": "True", "lastTransitionTime": ago(age), **claim}]
    return {**VALIDATED, "conditions": conditions, **more}


UNPREPARED = {"type": "PodReadyToStartContainers", "status": "False"}
TOO_LONG = HALF_AN_HOUR + 60

SCENARIOS = {
    "an image that cannot be pulled ends the job after half an hour": Scenario(
        status=VALIDATED,
        jobs=(TRAIN,),
        pods=(pod("train", age=TOO_LONG, state=waiting("ImagePullBackOff"), conditions=(scheduled(TOO_LONG),)),),
        phase="Failed",
        reason="ImagePullFailed",
        says="ImagePullBackOff: as the kubelet says (given up after 30m00s, limits.maxPendingSeconds)",
    ),
    "preflight's too": Scenario(
        jobs=(PREFLIGHT,),
        pods=(pod("preflight", age=TOO_LONG, state=waiting("ErrImagePull"), conditions=(scheduled(TOO_LONG),)),),
        phase="Failed",
        reason="ImagePullFailed",
    ),
    "the time that a pod waited for its node is not its image's": Scenario(
        status=VALIDATED,
        jobs=(TRAIN,),
        pods=(pod("train", age=TOO_LONG, state=waiting("ErrImagePull"), conditions=(scheduled(60),)),),
        phase="Starting",
        reason="ImagePullFailed",
    ),
    "a node may take longer than half an hour to come free": Scenario(
        status=VALIDATED,
        jobs=(TRAIN,),
        pods=(pod("train", age=TOO_LONG, conditions=(LACK,)),),
        phase="Starting",
        reason="Unschedulable",
    ),
    "a job that no node takes ends after a day": Scenario(
        status=VALIDATED,
        jobs=(TRAIN,),
        pods=(pod("train", age=A_DAY + 60, conditions=(LACK,)),),
        phase="Failed",
        reason="Unschedulable",
        says="no GPU (given up after 24h00m",
    ),
    "or sooner, where the spec says so": Scenario(
        spec={"limits": {"maxPendingSeconds": 300}},
        status=VALIDATED,
        jobs=(TRAIN,),
        pods=(pod("train", age=301, conditions=(LACK,)),),
        phase="Failed",
        reason="Unschedulable",
    ),
    "nor is a day waited for a node other than those that failed": Scenario(
        status={**VALIDATED, "avoidedNodes": ["gpu-1"]},
        jobs=(o.child_job("train", annotations={"finetune.dev/avoided-nodes": "gpu-1"}),),
        pods=(pod("train", age=TOO_LONG, conditions=(LACK,)),),
        phase="Failed",
        reason="Unschedulable",
    ),
    "volumes that cannot be mounted are told apart from a slow image": Scenario(
        status=VALIDATED,
        jobs=(TRAIN,),
        pods=(pod("train", age=120, state=waiting("ContainerCreating"), conditions=(scheduled(120), UNPREPARED)),),
        phase="Starting",
        reason="VolumeMissing",
        says="Secret s3-keys or ConfigMap s3-ca is not in namespace team-a or lacks a key",
    ),
    "a missing Secret ends the job": Scenario(
        status=VALIDATED,
        jobs=(TRAIN,),
        pods=(
            pod(
                "train",
                age=TOO_LONG,
                state=waiting("ContainerCreating"),
                conditions=(scheduled(TOO_LONG), UNPREPARED),
            ),
        ),
        phase="Failed",
        reason="VolumeMissing",
    ),
    "an image that is slow to pull ends nothing": Scenario(
        status=VALIDATED,
        jobs=(TRAIN,),
        pods=(
            pod(
                "train",
                age=2 * A_DAY,
                state=waiting("ContainerCreating"),
                conditions=(scheduled(2 * A_DAY), {"type": "PodReadyToStartContainers", "status": "True"}),
            ),
        ),
        phase="Starting",
        reason="TrainerStarting",
    ),
    "a webhook that refuses the Job ends it": Scenario(
        status=stalled(TOO_LONG),
        refusals=refused('admission webhook "policy.example" denied the request: no team label'),
        phase="Failed",
        reason="AdmissionDenied",
        says="no team label",
    ),
    "a quota may come free for a day": Scenario(
        status=stalled(TOO_LONG),
        refusals=refused("jobs.batch is forbidden: exceeded quota: small"),
        phase="Starting",
        reason="QuotaExceeded",
    ),
    "and not longer": Scenario(
        status=stalled(A_DAY + 60),
        refusals=refused("jobs.batch is forbidden: exceeded quota: small"),
        phase="Failed",
        reason="QuotaExceeded",
    ),
    "a queue has no deadline of its own": Scenario(
        status=VALIDATED,
        jobs=(queued(age=9 * A_DAY),),
        workloads=(o.workload("train"),),
        phase="Queued",
        reason="Queued",
    ),
    "a queue deadline ends the wait": Scenario(
        spec={"limits": {"maxQueueSeconds": 3600}},
        status=VALIDATED,
        jobs=(queued(age=3601),),
        workloads=(o.workload("train"),),
        phase="Failed",
        reason="QueueTimeExceeded",
        says="given up after 1h00m, limits.maxQueueSeconds",
    ),
    "a job that its user has suspended waits for its user": Scenario(
        spec={"limits": {"maxQueueSeconds": 3600}, "suspend": True},
        status=VALIDATED,
        jobs=(queued(age=9 * A_DAY),),
        workloads=(o.workload("train"),),
        phase="Suspended",
        reason="SuspendedByUser",
        actions=("take out train",),
    ),
    "and begins to wait anew when it is resumed": Scenario(
        spec={"limits": {"maxQueueSeconds": 3600}},
        status={
            **VALIDATED,
            "conditions": [
                {
                    "type": "Suspended",
                    "status": "False",
                    "reason": "Resumed",
                    "message": "",
                    "lastTransitionTime": ago(60),
                    "observedGeneration": 1,
                }
            ],
        },
        jobs=(queued(age=9 * A_DAY),),
        workloads=(o.workload("train"),),
        phase="Queued",
        reason="Queued",
    ),
}


@pytest.mark.parametrize("case", SCENARIOS.values(), ids=SCENARIOS)
def test_scenario(case: Scenario) -> None:
    check(case)


def test_the_job_is_looked_at_when_its_deadline_comes() -> None:
    known = Known(
        spec={"limits": {"maxPendingSeconds": 300}},
        status=VALIDATED,
        jobs=(TRAIN,),
        pods=(pod("train", age=200, conditions=(LACK,)),),
    )
    assert decision(known).recheck_after == 100


def test_what_ended_the_job_says_whose_turn_it_is() -> None:
    known = Known(
        status=VALIDATED,
        jobs=(TRAIN,),
        pods=(pod("train", age=TOO_LONG, state=waiting("ImagePullBackOff"), conditions=(scheduled(TOO_LONG),)),),
    )
    why = decision(known).status.failure
    assert why is not None
    assert (why.failure_class, why.reason, why.retryable) == ("Cluster", Reason.IMAGE_PULL_FAILED, False)
    assert "The platform team corrects the operator's trainer image" in why.advice
