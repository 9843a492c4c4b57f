"""Training as curves: lines for an SVG whose x stretches with the page and whose y is in pixels; pure geometry."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from finetune_trainer.metrics_file import StepRecord

WIDTH: Final = 1000
"""Units that x runs over, whatever the page's width."""
_MOST_POINTS: Final = 600
_SMOOTHED_FROM: Final = 40
"""Steps from which a running mean is drawn over the losses."""
_GRID_PIXELS: Final = 50
"""About so far are the lines of the grid apart."""

Point = tuple[int, float]
"""A step and a value."""


@dataclass(frozen=True, slots=True)
class Line:
    """One series."""

    name: str
    kind: str
    """What the style sheet calls it."""
    points: str
    """Of a polyline."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A label at a place: per cent of the width, or pixels from the top."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Dot:
    """A measurement that stands alone: per cent of the width, pixels from the top."""

    x: float
    y: float
    text: str


@dataclass(frozen=True, slots=True)
class Curve:
    """One chart."""

    title: str
    height: int
    """Pixels of the plot, labels below it not counted."""
    lines: list[Line]
    dots: list[Dot]
    grid: list[Mark]
    ticks: list[Mark]
    label: str
    """The chart in words, for those who do not see it."""


def draw_curves(steps: Sequence[StepRecord]) -> list[Curve]:
    """Loss first; then what there are numbers of."""
    if not steps:
        return []
    others = (
        ("Learning rate", [(each.step, each.learning_rate) for each in steps]),
        ("Gradient norm, before clipping", [(each.step, each.grad_norm) for each in steps]),
        ("Tokens per second", [(each.step, each.tokens_per_second) for each in steps]),
        ("GPU use, %", [(s.step, s.gpu_utilization) for s in steps if s.gpu_utilization is not None]),
        ("GPU memory, GB", [(s.step, s.gpu_memory_bytes / 1e9) for s in steps if s.gpu_memory_bytes is not None]),
    )
    last = steps[-1].step
    return [_loss(steps), *(_single(title, points, last) for title, points in others if points)]


def smoothed(points: Sequence[Point]) -> list[Point]:
    """Running mean, exponentially weighted over about a twentieth of the points, unbiased at its start.

    That is the estimate of Adam's moments (Kingma and Ba 2015, arXiv:1412.6980, section 3).
    """
    keep = 1 - 1 / max(len(points) / 20, 1)
    mean, weight, found = 0.0, 0.0, []
    for step, value in points:
        mean, weight = keep * mean + (1 - keep) * value, keep * weight + (1 - keep)
        found.append((step, mean / weight))
    return found


def thinned(points: Sequence[Point]) -> list[Point]:
    """At most `_MOST_POINTS` points that keep every peak: the lowest and the highest of each stretch."""
    if len(points) <= _MOST_POINTS:
        return list(points)
    stretches = _MOST_POINTS // 2
    found: list[Point] = []
    for number in range(stretches):
        part = points[number * len(points) // stretches : (number + 1) * len(points) // stretches]
        found += sorted({min(part, key=lambda point: point[1]), max(part, key=lambda point: point[1])})
    return found


def _loss(steps: Sequence[StepRecord]) -> Curve:
    train = _finite((each.step, each.loss) for each in steps)
    validation = _finite((each.step, each.validation_loss) for each in steps if each.validation_loss is not None)
    plot = _Plot([*train, *validation], steps[-1].step, height=220)
    if len(train) < _SMOOTHED_FROM:
        lines = [plot.line("train", "train", train)]
    else:
        lines = [plot.line("each step", "faint", train), plot.line("train", "train", smoothed(train))]
    if validation:
        lines.append(plot.line("validation", "validation", validation))
    told = _told("Training loss", train) + (f". {_told('Validation loss', validation)}" if validation else "")
    return plot.curve("Loss", lines, plot.dots(validation), told)


def _single(title: str, points: Sequence[Point], last: int) -> Curve:
    finite = _finite(points)
    plot = _Plot(finite, last, height=110)
    return plot.curve(title, [plot.line(title, "train", finite)], [], _told(title, finite))


def _told(title: str, points: Sequence[Point]) -> str:
    if not points:
        return f"{title}: no finite value"
    (first, start), (last, end) = points[0], points[-1]
    return f"{title}: {short(start)} at step {first}, {short(end)} at step {last}"


def _finite(points: Iterable[Point]) -> list[Point]:
    return [point for point in points if math.isfinite(point[1])]


class _Plot:
    """Scales of one chart."""

    def __init__(self, points: Sequence[Point], last: int, height: int) -> None:
        highest = max((value for _, value in points), default=1.0)
        lowest = min((value for _, value in points), default=0.0)
        self._step = _round_step((highest - min(lowest, 0.0)) * _GRID_PIXELS / height or 1.0)
        self._bottom = math.floor(min(lowest, 0.0) / self._step) * self._step
        self._top = math.ceil(highest / self._step) * self._step
        if self._top <= self._bottom:
            self._top = self._bottom + self._step
        self._last, self._height = last, height

    def line(self, name: str, kind: str, points: Sequence[Point]) -> Line:
        places = (f"{self._x(step) * WIDTH:.1f},{self._y(value):.1f}" for step, value in thinned(points))
        return Line(name, kind, " ".join(places))

    def dots(self, points: Sequence[Point]) -> list[Dot]:
        return [Dot(round(100 * self._x(step), 2), round(self._y(value), 1), short(value)) for step, value in points]

    def curve(self, title: str, lines: list[Line], dots: list[Dot], label: str) -> Curve:
        count = round((self._top - self._bottom) / self._step)
        levels = [self._bottom + number * self._step for number in range(count + 1)]
        grid = [Mark(round(self._y(level), 1), short(level)) for level in levels]
        return Curve(title, self._height, lines, dots, grid, self._ticks(), label)

    def _ticks(self) -> list[Mark]:
        steps = sorted({1, *(max(1, round(self._last * part / 4)) for part in (1, 2, 3)), self._last})
        return [Mark(round(100 * self._x(step), 2), f"{step:,}") for step in steps]

    def _x(self, step: int) -> float:
        """0 at the first step, 1 at the last."""
        return (step - 1) / (self._last - 1) if self._last > 1 else 0.5

    def _y(self, value: float) -> float:
        return self._height * (1 - (value - self._bottom) / (self._top - self._bottom))


def _round_step(value: float) -> float:
    """The next of 1, 2, 2.5, 5 and 10 times a power of ten."""
    magnitude = 10.0 ** math.floor(math.log10(value))
    return next(step * magnitude for step in (1, 2, 2.5, 5, 10) if step * magnitude >= value * (1 - 1e-9))


def short(value: float) -> str:
    """At most three digits; thousands as k, millions as M."""
    for limit, unit in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= limit:
            return f"{value / limit:.3g}{unit}"
    return f"{value:.3g}"
