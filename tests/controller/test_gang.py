"""Several pods that train together, told of as one."""

from typing import Any

import cluster_objects as o
import pytest

from finetune_api.conditions import Reason
from finetune_operator.cache import Cache
from finetune_operator.children import ChildPod, parse_job, parse_pod
from finetune_operator.failures import failure_of
from finetune_operator.gang import as_one
from finetune_operator.observe import Key

SOONER, LATER = "2026-01-31T12:09:00Z", "2026-01-31T12:11:00Z"
LACK = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes: no GPU"}
FAILED = o.condition("Failed", "BackoffLimitExceeded")
TAKEN_AWAY = {"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"}


def stand_in(*pods: o.Raw, **changes: Any) -> ChildPod:
    """The one pod that a Job of two is looked at by."""
    (pod,) = stand_ins(*pods, **changes)
    return pod


def stand_ins(*pods: o.Raw, conditions: tuple[o.Raw, ...] = (FAILED,), suspend: bool = False) -> tuple[ChildPod, ...]:
    cache = Cache()
    cache.put_job(parse_job(o.child_job("train", *conditions, spec={"completions": 2, "suspend": suspend})))
    for raw in pods:
        cache.put_pod(parse_pod(raw))
    child = as_one(cache.child(Key(o.NAMESPACE, o.NAME), o.UID, "train"))
    assert child is not None
    return child.pods


def running(index: int, started: str = o.START) -> o.Raw:
    return o.pod("train", {"running": {"startedAt": started}}, phase="Running", index=index)


def lost(index: int, at: str = o.END) -> o.Raw:
    """A pod that ended because another one had."""
    words = o.failed_report("train", "Infrastructure", Reason.RANK_LOST, "rank 1 is gone", retryable=True)
    return o.ended("train", 20, words, index=index, at=at)


def stopped(index: int, at: str = o.END, **changes: object) -> o.Raw:
    words = o.failed_report("train", "Preempted", Reason.PREEMPTED, "asked to stop", retryable=True)
    return o.ended("train", 76, words, index=index, at=at, **changes)


def diverged(index: int, at: str = o.END) -> o.Raw:
    return o.ended("train", 14, o.failed_report("train", "Diverged", Reason.DIVERGED, "no"), index=index, at=at)


def test_all_run_once_the_last_one_does_and_since_the_first_one_did() -> None:
    assert not stand_in(running(0)).running
    starting = stand_in(running(0), o.pod("train", index=1, conditions=[LACK]))
    assert (starting.running, starting.unschedulable) == (False, "0/1 nodes: no GPU")
    together = stand_in(running(0, LATER), running(1, SOONER))
    assert (together.running, together.started_at) == (True, SOONER)


def test_the_first_ones_result_is_that_of_all() -> None:
    done = stand_in(o.ended("train", 0, o.trained()), running(1))
    assert done.report is not None
    assert done.report.artifact == o.ARTIFACT


def test_an_attempt_is_over_when_all_pods_have_ended() -> None:
    ending = stand_in(running(0), o.ended("train", 137, index=1))
    assert (ending.finished, ending.running) == (False, True)
    ending = stand_in(lost(0), running(1))
    assert (ending.finished, ending.running) == (False, True)
    pods = (lost(0, LATER), o.ended("train", 137, index=1, at=SOONER))
    over = stand_in(*pods)
    assert (over.finished, over.finished_at) == (True, LATER)
    assert not stand_in(*pods, conditions=()).finished, "the Job has not noticed yet"


def test_an_attempt_is_over_too_when_its_job_is_suspended() -> None:
    assert stand_in(stopped(0), stopped(1), conditions=(), suspend=True).finished


def test_an_attempt_keeps_its_name_whoever_ends_it() -> None:
    first = stand_in(running(0), running(1)).uid
    assert stand_in(lost(0), o.ended("train", 137, index=1)).uid == first
    assert stand_in(running(0), o.ended("train", 137, index=1)).uid == first


@pytest.mark.parametrize(
    ("pods", "reason", "name"),
    [
        ([lost(0, SOONER), o.ended("train", 137, index=1, at=LATER)], Reason.INTERNAL, "tune-train-1-abcde"),
        ([diverged(0, LATER), lost(1, SOONER)], Reason.DIVERGED, "tune-train-0-abcde"),
        ([stopped(0), stopped(1, conditions=[TAKEN_AWAY])], Reason.DISRUPTED, "tune-train-1-abcde"),
        ([stopped(0), o.ended("train", 137, index=1)], Reason.INTERNAL, "tune-train-1-abcde"),
        ([stopped(0, LATER), o.ended("train", 137, index=1, at=SOONER)], Reason.INTERNAL, "tune-train-1-abcde"),
        ([lost(0, LATER), lost(1, SOONER)], Reason.RANK_LOST, "tune-train-1-abcde"),
    ],
    ids=["killed", "diverged", "drained", "asked to leave with it", "asked to leave after it", "nobody knows"],
)
def test_the_end_of_all_is_told_by_the_one_whose_fault_it_was(pods: list[o.Raw], reason: Reason, name: str) -> None:
    over = stand_in(*pods)
    assert failure_of(over).reason == reason
    assert over.name == name


def test_the_end_is_told_though_the_first_pod_has_vanished_and_its_name_is_open() -> None:
    left = stand_in(o.ended("train", 137, index=1))
    assert (left.uid, left.finished) == ("", True)
    assert failure_of(left).reason == Reason.INTERNAL
    assert stand_in(o.ended("train", 137, index=1), conditions=()).running, "the Job has not noticed yet"


def test_pods_that_wait_for_the_first_are_not_at_work() -> None:
    assert not stand_in(running(1), conditions=()).running


def test_the_result_is_lost_with_the_first_pod_whatever_the_others_say() -> None:
    assert stand_ins(o.ended("train", 0, o.report("train"), index=1), conditions=(o.condition("Complete"),)) == ()


def test_pods_of_a_resumed_job_follow_those_of_before() -> None:
    older = stopped(0)
    newer = {**running(0), "metadata": {**running(0)["metadata"], "name": "b", "uid": "b", "creationTimestamp": LATER}}
    assert stand_in(older, newer, running(1)).uid == "b"
