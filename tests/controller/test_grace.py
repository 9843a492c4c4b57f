"""The grace period of a training pod: by the size of a checkpoint, or as the spec says."""

import pytest

from finetune_api.spec.resources import Limits
from finetune_api.status import EstimateStatus
from finetune_operator.manifests.grace import grace_seconds


def estimate(checkpoint_bytes: int) -> EstimateStatus:
    return EstimateStatus(memory="1Gi", steps=1, tokens=1, checkpoint_bytes=checkpoint_bytes)


@pytest.mark.parametrize(
    ("checkpoint_bytes", "seconds"),
    [
        (0, 120),
        (500_000_000, 120),  # an 8B adapter of rank 16: 60 s and twice 25 s
        (1_460_000_000, 206),  # last layers of a 1B model: 60 s and twice 73 s
        (15_000_000_000, 1560),  # a whole 1B model
        (96_000_000_000, 3600),  # a whole 8B model: the bound
    ],
)
def test_the_grace_period_covers_a_step_and_two_uploads_within_bounds(checkpoint_bytes: int, seconds: int) -> None:
    assert grace_seconds(Limits(), estimate(checkpoint_bytes)) == seconds


def test_a_grace_period_in_the_spec_is_taken_as_it_is() -> None:
    assert grace_seconds(Limits(grace_period_seconds=7), estimate(96_000_000_000)) == 7


def test_without_an_estimate_the_least_is_granted() -> None:
    assert grace_seconds(Limits(), None) == 120
