"""What each attempt went on from, did, saved and lost, from progress lines, last words and what status remembers."""

from dataclasses import dataclass

import cluster_objects as o
import pytest
from scenarios import NOW

from finetune_api.progress import Progress
from finetune_api.report import SavedCheckpoint
from finetune_api.status import AttemptStatus
from finetune_operator.attempts import merge, useful_gpu_seconds
from finetune_operator.children import parse_job, parse_pod
from finetune_operator.observe import Child

TAKEN_AWAY = [{"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"}]


def saved(step: int) -> SavedCheckpoint:
    return SavedCheckpoint(step=step, uri=f"s3://out/tune/checkpoints/{step}/", saved_at=o.START)


def line(step: int, *, at: int | None = None, resumed: int | None = None, stage: str = "training") -> Progress:
    """A progress line after `step`, with a checkpoint `at` a step."""
    return Progress.model_validate(
        {
            "stage": stage,
            "step": step,
            "total_steps": 100,
            "checkpoint": saved(at) if at is not None else None,
            "resumed_from_step": resumed,
        }
    )


def child(*pods: o.Raw) -> Child:
    return Child(job=parse_job(o.child_job("train")), pods=tuple(map(parse_pod, pods)))


def looked(*looks: tuple[Child | None, Progress | None]) -> list[AttemptStatus]:
    """The attempts after the operator has looked so often."""
    history: list[AttemptStatus] = []
    for seen, progress in looks:
        history = merge(history, seen, progress, suspended=False, now=NOW)
    return history


def story(attempt: AttemptStatus) -> tuple[int | None, int | None, int | None, int | None]:
    return attempt.resumed_from_step, attempt.step, attempt.saved_step, attempt.lost_steps


RUNNING = child(o.running("train"))
LOADING = Progress(stage="loading")


@dataclass(frozen=True)
class Ending:
    """How an attempt ended whose last line was of step 57, with a checkpoint at 40."""

    seen: Child | None
    expected: tuple[int | None, int | None, int | None, int | None]
    """Resumed from, told of, saved, lost."""


PREEMPTED = o.report("train", outcome="preempted", checkpoint=saved(60))
ENDINGS = {
    "killed without a word": Ending(child(o.ended("train", 137)), (20, 57, 40, 17)),
    "taken away, its pod too": Ending(None, (20, 57, 40, 17)),
    "taken away by the cluster": Ending(child(o.ended("train", 137, conditions=TAKEN_AWAY)), (20, 57, 40, 17)),
    "asked to stop, and saved": Ending(child(o.ended("train", 75, PREEMPTED)), (20, 57, 60, 0)),
    "done": Ending(child(o.ended("train", 0, o.trained())), (20, 30, 40, None)),
}


@pytest.mark.parametrize("ending", ENDINGS.values(), ids=ENDINGS)
def test_an_attempt_tells_what_it_did_and_what_is_lost(ending: Ending) -> None:
    (attempt,) = looked((RUNNING, LOADING), (RUNNING, line(57, at=40, resumed=20)), (ending.seen, None))
    assert story(attempt) == ending.expected


def test_nothing_counts_as_lost_while_the_attempt_runs() -> None:
    (attempt,) = looked((RUNNING, line(57, at=40)))
    assert story(attempt) == (None, 57, 40, None)


def test_without_a_checkpoint_all_is_lost_and_with_the_one_it_began_from_only_the_rest() -> None:
    killed = child(o.ended("train", 137))
    assert story(looked((RUNNING, line(9)), (killed, None))[0]) == (None, 9, None, 9)
    assert story(looked((RUNNING, line(9, resumed=5)), (killed, None))[0]) == (5, 9, None, 4)


@pytest.mark.parametrize(
    ("newest", "useful"),
    [
        # Of 37 steps 17 are to be done again.
        (line(57, at=40, resumed=20).model_copy(update={"step_seconds": 370.0}), 2 * 200),
        (line(57, at=57, resumed=20).model_copy(update={"step_seconds": 370.0}), 2 * 370),
        # All of its time went into loading.
        (line(20, at=20, resumed=20), 0),
        (None, 0),
    ],
)
def test_of_an_attempt_s_gpu_time_that_in_steps_which_are_kept_is_useful(newest: Progress | None, useful: int) -> None:
    attempts = looked((RUNNING, newest), (child(o.ended("train", 137)), None))
    assert useful_gpu_seconds(attempts, 2) == useful


def test_an_attempt_that_never_trained_has_lost_no_steps() -> None:
    (attempt,) = looked((RUNNING, LOADING), (child(o.ended("train", 137)), None))
    assert story(attempt) == (None, None, None, None)


def test_a_successor_is_not_credited_with_what_its_predecessor_did() -> None:
    first, second = o.ended("train", 137, name="a"), o.running("train", name="b")
    attempts = looked(
        (child(o.running("train", name="a")), line(57, at=40)),
        (child(first, second), LOADING),
        (child(first, second), line(45, resumed=40)),
    )
    assert [story(attempt) for attempt in attempts] == [(None, 57, 40, 17), (40, 45, None, None)]


def test_what_is_known_of_an_ended_attempt_stays() -> None:
    killed = child(o.ended("train", 137))
    once = looked((RUNNING, line(57, at=40)), (killed, None))
    assert merge(once, killed, None, suspended=False, now=NOW) == once
    assert merge(once, None, None, suspended=False, now=NOW) == once
