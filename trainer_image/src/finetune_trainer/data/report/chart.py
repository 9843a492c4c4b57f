"""The histogram as shapes for an SVG: pure geometry, no text of rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from finetune_trainer.data.report.content import Bin

WIDTH: Final = 440
HEIGHT: Final = 230
_LEFT: Final = 46
_RIGHT: Final = 10
_TOP: Final = 18
_BOTTOM: Final = 40
_GAP: Final = 1.5
_MOST_LABELS: Final = 6
_MOST_GRID_LINES: Final = 4


@dataclass(frozen=True, slots=True)
class Bar:
    """One bin: place and size in the SVG's units."""

    x: float
    y: float
    width: float
    height: float
    bin: Bin


@dataclass(frozen=True, slots=True)
class Mark:
    """A label on an axis, or a line across the chart."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Chart:
    """Everything that the template draws."""

    bars: list[Bar]
    ticks: list[Mark]
    """Below the bars: tokens."""
    grid: list[Mark]
    """Left of the bars: sequences."""
    limit: Mark | None
    """data.maxTokens, where it lies within the chart."""
    left: float = _LEFT
    right: float = WIDTH - _RIGHT
    top: float = _TOP
    base: float = HEIGHT - _BOTTOM


def draw(bins: Sequence[Bin], max_tokens: int | None) -> Chart:
    """The chart of at least one bin, all but the last of equal width."""
    slot = (WIDTH - _LEFT - _RIGHT) / len(bins)
    most = max(each.count for each in bins)
    step = _round_up(most / _MOST_GRID_LINES)
    lines = -(-most // step)
    base, height = HEIGHT - _BOTTOM, HEIGHT - _BOTTOM - _TOP
    bars = []
    for place, each in enumerate(bins):
        tall = height * each.count / (lines * step)
        if each.count:
            tall = max(tall, 1.0)  # a single row stays visible beside ten thousand
        bars.append(Bar(_LEFT + place * slot + _GAP / 2, base - tall, slot - _GAP, tall, each))
    grid = [Mark(base - height * line / lines, f"{step * line:,}") for line in range(lines + 1)]
    return Chart(bars, _ticks(bins, slot), grid, _limit(bins, slot, max_tokens))


def _ticks(bins: Sequence[Bin], slot: float) -> list[Mark]:
    every = -(-len(bins) // _MOST_LABELS)
    ticks = [
        Mark(_LEFT + (place + 1) * slot, f"{each.high:,}")
        for place, each in enumerate(bins)
        if (place + 1) % every == 0 and place < len(bins) - 1
    ]
    last = Mark(_LEFT + len(bins) * slot, f"{bins[-1].high:,}")
    crowded = ticks and last.at - ticks[-1].at < every * slot
    return [*(ticks[:-1] if crowded else ticks), last]


def _limit(bins: Sequence[Bin], slot: float, max_tokens: int | None) -> Mark | None:
    for place, each in enumerate(bins):
        if max_tokens is not None and each.low <= max_tokens <= each.high:
            share = (max_tokens - each.low + 1) / (each.high - each.low + 1)
            return Mark(_LEFT + (place + share) * slot, f"{max_tokens:,}")
    return None


def _round_up(value: float) -> int:
    """The next of 1, 2, 5, 10, 20, 25, 50, 100, ..."""
    magnitude = 1
    while True:
        for step in (magnitude, 2 * magnitude, 5 * magnitude // 2, 5 * magnitude):
            if step >= value:
                return step
        magnitude *= 10
