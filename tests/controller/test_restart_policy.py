"""A Job of several pods that failed: one new Job, counted once, when the old one has ended everywhere."""

import cluster_objects as o
import pytest
from scenarios import VALIDATED, Known, Scenario, check, decide_again, decision, storage_down, words

from finetune_api.conditions import Reason
from finetune_operator.actions import CreateJob
from finetune_operator.status import status_patch

SPEC = {"resources": {"nodes": 2, "gpus": {"count": 4}}, "limits": {"retries": 1}}
FAILED = o.condition("Failed", "BackoffLimitExceeded", "too many failures")
TAKEN_AWAY = {"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"}
LOST = o.failed_report("train", "Infrastructure", Reason.RANK_LOST, "rank 4 is gone", retryable=True)
STOPPED = o.failed_report("train", "Preempted", Reason.PREEMPTED, "asked to stop", retryable=True)


def train(*conditions: o.Raw, **metadata: str) -> o.Raw:
    return o.child_job("train", *conditions, spec={"completions": 2, "backoffLimit": 0}, **metadata)


def told(counted: int, job: str = "uid-of-train") -> o.Raw:
    return {**VALIDATED, "restarts": {"counted": counted, "jobUid": job}}


KILLED = (o.ended("train", 20, LOST), o.ended("train", 137, index=1))
DRAINED = (o.ended("train", 76, STOPPED), o.ended("train", 76, STOPPED, index=1, conditions=[TAKEN_AWAY]))

SCENARIOS = {
    "the end of a Job is put into status first": Scenario(
        spec=SPEC, status=VALIDATED, jobs=(train(FAILED),), pods=KILLED, phase="Starting", reason="Retrying",
        says="Starting all 2 pods again, attempt 2 of 2 after Internal",
    ),
    "a Job whose end is in status is removed": Scenario(
        spec=SPEC, status=told(1), jobs=(train(FAILED),), pods=KILLED, phase="Starting", reason="Retrying",
        actions=("delete train",),
    ),
    "its successor says which attempt it is": Scenario(
        spec=SPEC, status=told(1), phase="Starting", reason="TrainerStarting", actions=("create train",),
        says="Starting the trainer on 4 nvidia.com/gpu of each of 2 pods, attempt 2 of 2",
    ),
    "one that is being removed is waited for": Scenario(
        spec=SPEC, status=told(1), jobs=(train(FAILED, deletionTimestamp=o.END),), pods=KILLED, phase="Starting",
        reason="TrainerStarting",
    ),
    "preempted pods use up no retry": Scenario(
        spec=SPEC, status=told(1, "an earlier one"), jobs=(train(FAILED),), pods=DRAINED, phase="Starting",
        reason="Retrying", says="after Disrupted",
    ),
    "no new Job while a pod is still ending": Scenario(
        spec=SPEC, status=VALIDATED, jobs=(train(FAILED),), pods=(o.running("train"), KILLED[1]), phase="Running",
        reason="TrainerRunning",
    ),
    "no new Job before the Job has failed": Scenario(
        spec=SPEC, status=VALIDATED, jobs=(train(),), pods=KILLED, phase="Running", reason="TrainerRunning",
    ),
    "the last allowed attempt ends the job": Scenario(
        spec=SPEC, status=told(1, "an earlier one"), jobs=(train(FAILED),), pods=KILLED, phase="Failed",
        reason="BackoffLimitExceeded", says="The last of 2 attempts failed with Internal",
    ),
    "what cannot be mended is not tried again": Scenario(
        spec=SPEC, status=VALIDATED, jobs=(train(FAILED),),
        pods=(
            o.ended("train", 14, o.failed_report("train", "Diverged", Reason.DIVERGED, "the loss is NaN")),
            o.ended("train", 20, LOST, index=1),
        ),
        phase="Failed", reason="Diverged", says="the loss is NaN",
    ),
    "a suspended job keeps a failed Job until it goes on": Scenario(
        spec={**SPEC, "suspend": True}, status=told(1), jobs=(train(FAILED),), pods=KILLED, phase="Suspended",
        reason="SuspendedByUser",
    ),
    "a Job of one pod is left to the Job controller": Scenario(
        status=VALIDATED, jobs=(o.child_job("train", FAILED, status={"failed": 4}),),
        pods=(o.ended("train", 20, storage_down("train")),), phase="Failed", reason="BackoffLimitExceeded",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", SCENARIOS.values(), ids=SCENARIOS)
def test_scenario(case: Scenario) -> None:
    check(case)


def test_a_restart_is_counted_once_and_in_status_before_anything_is_removed() -> None:
    known = Known(spec=SPEC, status=VALIDATED, jobs=(train(FAILED),), pods=KILLED)
    first = decision(known)
    assert first.actions == ()
    assert first.status.restarts is not None
    assert (first.status.restarts.counted, first.status.restarts.job_uid) == (1, "uid-of-train")
    second = decide_again(known, first)
    assert [words(action) for action in second.actions] == ["delete train"]
    assert status_patch(first.status, second.status) == {}


def test_one_start_of_all_pods_is_one_attempt_and_all_of_their_gpus_are_counted() -> None:
    known = Known(spec=SPEC, status=VALIDATED, jobs=(train(),), pods=(o.running("train"), o.running("train", index=1)))
    first = decision(known)
    assert [attempt.outcome for attempt in first.status.attempts] == ["Running"]
    ended = decide_again(Known(spec=SPEC, jobs=(train(FAILED),), pods=KILLED), first)
    (attempt,) = ended.status.attempts
    assert (attempt.outcome, attempt.pod, attempt.exit_code) == ("Failed", "tune-train-1-abcde", 137)
    assert ended.status.gpu_seconds == 2 * 4 * 600


def test_the_attempt_is_known_though_its_first_pod_has_vanished() -> None:
    both = (o.running("train"), o.running("train", index=1))
    first = decision(Known(spec=SPEC, status=VALIDATED, jobs=(train(),), pods=both))
    ended = decide_again(Known(spec=SPEC, jobs=(train(FAILED),), pods=KILLED[1:]), first)
    (attempt,) = ended.status.attempts
    assert (attempt.uid, attempt.outcome, attempt.exit_code) == (first.status.attempts[0].uid, "Failed", 137)


def test_a_pod_that_was_taken_away_and_is_gone_uses_up_no_retry() -> None:
    disrupted = o.condition("Failed", "PodFailurePolicy", "has condition DisruptionTarget matching FailJob rule")
    known = Known(spec=SPEC, status=VALIDATED, jobs=(train(disrupted),), pods=(o.ended("train", 20, LOST),))
    restarts = decision(known).status.restarts
    assert restarts is not None
    assert (restarts.counted, restarts.job_uid) == (0, "uid-of-train")


def test_pods_of_several_nodes_find_the_first_by_a_service() -> None:
    (create,) = decision(Known(spec=SPEC, status=VALIDATED)).actions
    assert isinstance(create, CreateJob)
    assert '"rendezvous":"tune-train-0.tune-train:29400"' in str(create.manifest)
    assert create.service is not None
    assert create.service["metadata"]["ownerReferences"][0]["uid"] == o.UID
    (alone,) = decision(Known(status=VALIDATED)).actions
    assert isinstance(alone, CreateJob)
    assert alone.service is None
