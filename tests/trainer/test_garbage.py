"""Searches for garbage while data is prepared."""

import gc
import weakref

import pytest

from finetune_trainer.data.garbage import fewer_searches


class Held:
    """Something in a cycle."""

    def __init__(self) -> None:
        self.myself = self


def test_what_was_there_is_left_out_and_afterwards_all_is_as_before() -> None:
    before = gc.get_threshold(), gc.get_freeze_count()
    with fewer_searches():
        assert gc.get_freeze_count() > before[1]
        assert gc.get_threshold()[0] > before[0][0]
    assert (gc.get_threshold(), gc.get_freeze_count()) == before


def test_an_error_within_restores_all_too() -> None:
    before = gc.get_threshold()
    with pytest.raises(ValueError, match="a row"), fewer_searches():
        raise ValueError("a row")
    assert gc.get_threshold() == before


def test_cycles_that_stream_by_are_still_freed() -> None:
    with fewer_searches():
        first = weakref.ref(Held())
        kept = []
        while first() is not None and len(kept) < 1_000_000:
            kept.append([])
        assert first() is None
