"""Saving in the background: what training waits for, what it does not, and what ends it."""

import threading
from collections import deque

import pytest

from finetune_api.conditions import Reason
from finetune_api.report import SavedCheckpoint
from finetune_trainer.checkpoint import Captured
from finetune_trainer.errors import CredentialsError, DivergedError, InfrastructureError, StopRequested
from finetune_trainer.failures import as_failure
from finetune_trainer.state import Counters, LoopState
from finetune_trainer.uploads import Uploads

DOWN = InfrastructureError(reason=Reason.STORAGE_UNAVAILABLE, message="S3 is down", advice="wait")
REFUSED = CredentialsError(reason=Reason.ACCESS_DENIED, message="S3 answers 403", advice="wait")
SUPERSEDED = InfrastructureError(reason=Reason.SUPERSEDED, message="a newer attempt", advice="none")
DIVERGED = DivergedError(reason=Reason.DIVERGED, message="not finite", advice="none")
STOP = StopRequested(reason=Reason.PREEMPTED, message="asked to stop; the state is saved", advice="none")
SECONDS = 30
"""A hang fails the test."""


def at(step):
    return LoopState(Counters(step=step, plan_digest="plan"), {})


class Slow:
    """Checkpoints whose tries end when and how the test says."""

    def __init__(self, *failures, held=False):
        self.failures = deque(failures)
        self.tried, self.committed = [], []
        self.begun, self.go = threading.Semaphore(0), threading.Semaphore(0 if held else 10**6)

    def capture(self, state):
        return Captured(state, b"")

    def commit(self, captured):
        step = captured.state.counters.step
        self.tried.append(step)
        self.begun.release()
        assert self.go.acquire(timeout=SECONDS)
        failure = self.failures.popleft() if self.failures else None
        if failure is not None:
            raise failure
        self.committed.append(step)
        return SavedCheckpoint(step=step, uri="s3://team/out", saved_at="2026-01-31T12:00:00Z", size_bytes=1)


def uploads(slow, told=None, first_wait=0.001):
    return Uploads(slow, (told if told is not None else []).append, first_wait=first_wait)


def save(slow, *states, end=None):
    """Save states one after the other, and end training."""
    with uploads(slow) as saving:
        for state in states:
            saving.save(state)
        if end is not None:
            raise end


def wait_for(condition):
    for _ in range(SECONDS * 1000):
        if condition():
            return
        threading.Event().wait(0.001)
    pytest.fail("it never came")


def test_training_goes_on_while_a_state_is_saved_and_no_second_one_is_taken():
    slow, told = Slow(held=True), []
    with uploads(slow, told) as saving:
        saving.save(at(1))
        assert slow.begun.acquire(timeout=SECONDS)
        assert not saving.ready()
        assert told == []
        slow.go.release()
        wait_for(saving.ready)
        assert [saved.step for saved in told] == [1]
        slow.go.release()
        saving.save(at(2))
    assert slow.committed == [1, 2]


def test_a_state_that_cannot_wait_follows_the_one_on_its_way():
    slow = Slow(held=True)
    with uploads(slow) as saving:
        saving.save(at(1))
        assert slow.begun.acquire(timeout=SECONDS)
        threading.Timer(0.05, slow.go.release, [10]).start()
        saving.save(at(2))
        assert slow.committed[0] == 1
    assert slow.committed == [1, 2]


def test_the_state_that_is_on_its_way_is_not_saved_twice():
    slow = Slow(held=True)
    threading.Timer(0.05, slow.go.release, [10]).start()
    with pytest.raises(StopRequested):
        save(slow, at(1), at(1), end=STOP)
    assert slow.tried == slow.committed == [1]


@pytest.mark.parametrize("failure", [DOWN, REFUSED])
def test_what_may_pass_is_tried_again_while_training_goes_on(failure, caplog):
    slow, told = Slow(failure, failure, failure), []
    with uploads(slow, told) as saving:
        saving.save(at(1))
        wait_for(lambda: saving.ready() and told)
    assert slow.tried == [1, 1, 1, 1]
    assert caplog.text.count("checkpoint of step 1 is not saved, next try") == 3


def test_a_newer_state_takes_the_place_of_one_that_waits_for_its_next_try():
    slow = Slow(DOWN)
    with uploads(slow, first_wait=SECONDS) as saving:
        saving.save(at(1))
        wait_for(saving.ready)
        saving.save(at(2))
    assert slow.tried == [1, 2]
    assert slow.committed == [2]


@pytest.mark.parametrize("failure", [SUPERSEDED, DIVERGED, OSError("the disk is gone")])
def test_what_cannot_pass_ends_training_at_its_next_step(failure):
    with uploads(Slow(failure)) as saving:
        saving.save(at(1))
        with pytest.raises(DivergedError if failure is DIVERGED else InfrastructureError, match=str(failure)):
            wait_for(saving.ready)


def test_what_cannot_pass_ends_the_attempt_when_training_is_over_too():
    with pytest.raises(DivergedError):
        save(Slow(DIVERGED), at(1))


def test_asked_to_stop_a_state_is_tried_three_times():
    slow = Slow(DOWN, DOWN)
    with pytest.raises(StopRequested):
        save(slow, at(1), end=STOP)
    assert (slow.tried, slow.committed) == ([1, 1, 1], [1])


def test_asked_to_stop_with_a_state_that_cannot_be_saved_the_attempt_does_not_call_itself_saved(caplog):
    with pytest.raises(InfrastructureError, match="newest state could not be saved: S3 answers 403") as caught:
        save(Slow(*[REFUSED] * 9), at(1), end=STOP)
    assert as_failure(caught.value).retryable
    assert caplog.text.count("next try in") == 2, "after the last try nothing is waited for"


def test_a_finished_run_goes_on_to_its_artifact_though_the_last_state_is_not_saved(caplog):
    save(Slow(*[DOWN] * 9), at(1))
    assert "the newest state is not saved" in caplog.text


def test_another_end_waits_for_the_state_on_its_way_and_stays_what_it_is():
    slow = Slow()
    with pytest.raises(MemoryError):
        save(slow, at(1), end=MemoryError())
    assert slow.committed == [1]


def test_a_step_that_was_done_anew_with_another_result_is_saved_again():
    slow = Slow()
    save(slow, at(1), LoopState(Counters(step=1, plan_digest="plan", loss=2.0), {}))
    assert slow.committed == [1, 1]
