"""Divergence is told from noise by the smoothed loss."""

import math
import random

import pytest

from finetune_api.base import dump_plain, load_plain
from finetune_trainer.divergence import LossTrend

FACTOR = 4.0


def first_fault(losses, factor: float = FACTOR) -> tuple[int, str] | None:
    trend = LossTrend()
    for step, loss in enumerate(losses, start=1):
        trend = trend.after(step, loss)
        fault = trend.fault(factor)
        if fault is not None:
            return step, fault
    return None


def falling(steps: int, start: float, end: float, noise: float, seed: int = 0) -> list[float]:
    """An exponential fall with log-normal noise."""
    draw = random.Random(seed)
    return [
        (end + (start - end) * math.exp(-5 * step / steps)) * math.exp(draw.gauss(0, noise)) for step in range(steps)
    ]


def sawtooth(seed: int) -> list[float]:
    """Rows learnt by heart but for one in thirty, each step a single row: nearly nothing, and now and then a lot."""
    draw = random.Random(seed)
    return [2.0] * 10 + [3.0 if draw.random() < 1 / 30 else 0.001 for _ in range(500)]


@pytest.mark.parametrize(
    "losses",
    [
        falling(200, 3.0, 0.8, 0.3),
        falling(1000, 2.5, 0.01, 0.8),
        falling(50, 0.69, 1e-4, 1.0),
        [0.0] * 100,
        [2.0] * 300,
        [5.0] * 3 + [20.0] + [5.0] * 50,
        [1.0, 30.0],
    ],
    ids=["noisy", "noisier", "to nothing", "zero", "plateau", "one spike", "too short to tell"],
)
def test_noise_is_no_divergence(losses):
    assert first_fault(losses) is None


def test_a_hard_row_now_and_then_is_no_divergence():
    assert [seed for seed in range(200) if first_fault(sawtooth(seed))] == []


@pytest.mark.parametrize("height", [6.0, 11.0, 100.0])
def test_a_loss_that_rises_and_stays_is_found_within_twenty_steps(height):
    curve = falling(100, 3.0, 0.8, 0.2)
    step, fault = first_fault(curve + [height] * 50)
    assert 101 <= step <= 120
    assert "more than 4 times its lowest" in fault


def test_the_message_has_the_numbers():
    step, fault = first_fault([1.0] * 20 + [50.0])
    assert (step, fault) == (
        21,
        "the smoothed loss has risen to 6.502, more than 4 times its lowest, 1 after step 10",
    )


def test_the_factor_is_the_user_s():
    curve = [1.0] * 20 + [3.0] * 30
    assert first_fault(curve, 4.0) is None
    assert first_fault(curve, 2.0) is not None


def test_a_trend_that_was_saved_goes_on_as_it_was():
    curve = falling(100, 3.0, 0.8, 0.3)
    whole = trend = LossTrend()
    for step, loss in enumerate(curve, start=1):
        whole = whole.after(step, loss)
        written = dump_plain(trend.after(step, loss))
        trend = load_plain(LossTrend, written)
    assert trend == whole
