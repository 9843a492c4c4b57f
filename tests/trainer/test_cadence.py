"""When a checkpoint is due."""

import pytest

from finetune_trainer.cadence import Cadence

LATER = 10_000.0


@pytest.mark.parametrize(
    ("every_minutes", "every_steps", "step", "seconds", "due"),
    [
        (10, None, 41, 599, False),
        (10, None, 41, 600, True),
        (10, None, 40, 600, False),  # there is nothing new to save
        (0.5, None, 41, 30, True),
        (None, 10, 49, LATER, False),
        (None, 10, 50, 0, True),
        (None, 10, 53, 0, True),  # the one due after step 50 could not be taken
        (None, 1, 41, 0, True),
        (10, 100, 50, 601, True),
        (10, 5, 45, 1, True),
        (None, None, 10**6, LATER, False),
    ],
)
def test_a_checkpoint_is_due_by_the_clock_or_by_steps(every_minutes, every_steps, step, seconds, due):
    cadence = Cadence(every_minutes, every_steps, step=40, now=1000.0)
    assert cadence.is_due(step, 1000.0 + seconds) is due


def test_what_was_saved_is_due_again_only_after_as_long_again():
    cadence = Cadence(10, 10, step=0, now=0)
    assert cadence.is_due(10, 60)
    cadence.saved(13, 100)
    assert [cadence.is_due(step, 101) for step in (14, 19, 20)] == [False, False, True]
    assert [cadence.is_due(14, now) for now in (600, 699, 700)] == [False, False, True]
