"""Training: from validated data to the adapter, over retries and preemptions."""

from datetime import timedelta

import cluster_objects as o
import pytest
from scenarios import LACK, NOW, TRAIN, TRAINED, VALIDATED, Known, Scenario, check, decision, storage_down

from finetune_operator.actions import CreateJob

EXHAUSTED = o.condition("Failed", "BackoffLimitExceeded", "too many failures")
TAKEN_AWAY = {"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"}


def waiting(reason: str, message: str = "") -> o.Raw:
    return {"waiting": {"reason": reason, "message": message}}


SCENARIOS = {
    "a validated job is trained": Scenario(
        status=VALIDATED,
        phase="Starting",
        reason="TrainerStarting",
        actions=("create train",),
    ),
    "a validated job needs its preflight Job no more": Scenario(
        status=VALIDATED,
        jobs=(TRAIN,),
        pods=(o.running("train"),),
        phase="Running",
        reason="TrainerRunning",
    ),
    "an image that cannot be pulled says so": Scenario(
        status=VALIDATED,
        jobs=(TRAIN,),
        pods=(o.pod("train", waiting("ImagePullBackOff", "no such image")),),
        phase="Starting",
        reason="ImagePullFailed",
        says="no such image",
    ),
    "a container that does not start hints at missing volumes": Scenario(
        status=VALIDATED,
        jobs=(TRAIN,),
        pods=(o.pod("train", waiting("ContainerCreating")),),
        phase="Starting",
        reason="TrainerStarting",
        says="Secret or ConfigMap",
    ),
    "a retry says what it follows": Scenario(
        status=VALIDATED,
        jobs=(o.child_job("train", status={"failed": 1}),),
        pods=(o.ended("train", 20, storage_down("train"), name="a"), o.running("train", name="b")),
        phase="Running",
        reason="TrainerRunning",
        says="attempt 2 of 4 after StorageUnavailable",
    ),
    "a preempted attempt uses up no retry": Scenario(
        status=VALIDATED,
        jobs=(TRAIN,),
        pods=(o.ended("train", 143, conditions=[TAKEN_AWAY], name="a"), o.running("train", name="b")),
        phase="Running",
        reason="TrainerRunning",
        says="again after Disrupted",
    ),
    "a report completes the job before the Job controller has": Scenario(
        status=VALIDATED,
        jobs=(TRAIN,),
        pods=(TRAINED,),
        phase="Complete",
        reason="AdapterReady",
        says="s3://out/tune/runs/0001/adapter",
    ),
    "a Job that cannot create its pod says so": Scenario(
        status=VALIDATED,
        jobs=(o.child_job("train", status={"startTime": o.START}),),
        phase="Starting",
        reason="TrainerStarting",
        says="tune-train cannot create its pod",
    ),
    "a failed Job's reason is told once its pod's end is heard of": Scenario(
        status=VALIDATED,
        jobs=(o.child_job("train", EXHAUSTED, status={"failed": 4}),),
        pods=(o.running("train"),),
        phase="Running",
        reason="TrainerRunning",
    ),
    "the last failure ends the job": Scenario(
        status=VALIDATED,
        jobs=(o.child_job("train", EXHAUSTED, status={"failed": 4}),),
        pods=(o.ended("train", 20, storage_down("train")),),
        phase="Failed",
        reason="BackoffLimitExceeded",
        says="The last of 4 attempts failed with StorageUnavailable: S3 says 503",
    ),
}


@pytest.mark.parametrize("case", SCENARIOS.values(), ids=SCENARIOS)
def test_scenario(case: Scenario) -> None:
    check(case)


def test_training_is_told_the_digest_that_was_validated_and_keeps_the_first_image() -> None:
    (create,) = decision(Known(status=VALIDATED)).actions
    assert isinstance(create, CreateJob)
    text = str(create.manifest)
    assert '"dataDigest":"sha256:abc"' in text
    assert '"preparedDigest":"sha256:123"' in text
    assert "'image': 'registry.test/trainer@sha256:old'" in text


@pytest.mark.parametrize(
    ("young", "left"),
    [(o.pod("train", waiting("ContainerCreating")), 55), (o.pod("train", conditions=[LACK]), 5)],
    ids=["creating", "unschedulable"],
)
def test_patience_with_a_starting_pod_ends_by_itself(young: o.Raw, left: float) -> None:
    metadata = {**young["metadata"], "creationTimestamp": (NOW - timedelta(seconds=5)).isoformat()}
    made = decision(Known(status=VALIDATED, jobs=(TRAIN,), pods=({**young, "metadata": metadata},)))
    assert made.recheck_after == left
    assert made.status.message == "Starting the trainer on 1 nvidia.com/gpu"
