"""Attempts that another one cannot better end the job, however many retries are left."""

import cluster_objects as o
import pytest
from scenarios import TRAIN, VALIDATED, Scenario, check, storage_down

from finetune_api.conditions import Reason

TWICE = o.child_job("train", status={"failed": 2})
FULL = {"reason": "Evicted", "message": 'Usage of EmptyDir volume "work" exceeds the limit "50Gi".'}


def killed(name: str) -> o.Raw:
    return o.ended("train", 137, reason="OOMKilled", name=name)


def gpu_full(name: str) -> o.Raw:
    words = o.failed_report("train", "OutOfMemory", Reason.OUT_OF_MEMORY, "CUDA out of memory")
    return o.ended("train", 13, words, name=name)


SCENARIOS = {
    "memory may suffice the second time": Scenario(
        status=VALIDATED,
        jobs=(o.child_job("train", status={"failed": 1}),),
        pods=(killed("a"),),
        phase="Starting",
        reason="Retrying",
        says="attempt 2 of 4 after OutOfMemory",
    ),
    "a GPU's memory is tried again with less": Scenario(
        status=VALIDATED,
        jobs=(o.child_job("train", status={"failed": 1}),),
        pods=(gpu_full("a"),),
        phase="Starting",
        reason="Retrying",
        says="attempt 2 of 4 after OutOfMemory, with smaller micro-batches",
    ),
    "a container that was killed for memory twice is not started a third time": Scenario(
        status=VALIDATED,
        jobs=(TWICE,),
        pods=(killed("a"), killed("b")),
        phase="Failed",
        reason="OutOfMemory",
        says="It happened 2 times: The training pod used more memory than its limit",
    ),
    "nor one whose GPU was too small": Scenario(
        status=VALIDATED,
        jobs=(TWICE,),
        pods=(gpu_full("a"), gpu_full("b")),
        phase="Failed",
        reason="OutOfMemory",
        says="It happened 2 times: CUDA out of memory",
    ),
    "other failures between do not help": Scenario(
        status=VALIDATED,
        jobs=(o.child_job("train", status={"failed": 3}),),
        pods=(killed("a"), o.ended("train", 20, storage_down("train"), name="b"), killed("c")),
        phase="Failed",
        reason="OutOfMemory",
    ),
    "an attempt that is at work already is let work": Scenario(
        status=VALIDATED,
        jobs=(TWICE,),
        pods=(killed("a"), killed("b"), o.running("train", name="c")),
        phase="Running",
        reason="TrainerRunning",
    ),
    "a disk that was too small will be so again": Scenario(
        status=VALIDATED,
        jobs=(o.child_job("train", status={"failed": 1}),),
        pods=(o.pod("train", phase="Failed", **FULL),),
        phase="Failed",
        reason="ScratchFull",
        says="exceeds the limit",
    ),
    "infrastructure is left to the retry limit": Scenario(
        status=VALIDATED,
        jobs=(o.child_job("train", status={"failed": 3}),),
        pods=tuple(o.ended("train", 20, storage_down("train"), name=name) for name in "abc"),
        phase="Starting",
        reason="Retrying",
        says="attempt 4 of 4 after StorageUnavailable",
    ),
    "a code that ends the Job is left to the Job": Scenario(
        status=VALIDATED,
        jobs=(TRAIN,),
        pods=(o.ended("train", 14, o.failed_report("train", "Diverged", Reason.DIVERGED, "loss is nan")),),
        phase="Running",
        reason="TrainerRunning",
        says="Ended with Diverged: loss is nan",
    ),
    "and so is the last retry": Scenario(
        status=VALIDATED,
        jobs=(o.child_job("train", status={"failed": 4}),),
        pods=(o.ended("train", 20, storage_down("train")),),
        phase="Running",
        reason="TrainerRunning",
        says="Ended with StorageUnavailable",
    ),
    "a pod that was taken away is followed by another, whatever its code": Scenario(
        status=VALIDATED,
        jobs=(TRAIN,),
        pods=(o.ended("train", 11, conditions=[{"type": "DisruptionTarget", "status": "True", "reason": "Eviction"}]),),
        phase="Starting",
        reason="TrainerStarting",
    ),
}


@pytest.mark.parametrize("case", SCENARIOS.values(), ids=SCENARIOS)
def test_scenario(case: Scenario) -> None:
    check(case)
