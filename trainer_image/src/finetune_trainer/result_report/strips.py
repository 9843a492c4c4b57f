"""Metrics as strips: base, rivals and tuned on one line, the interval of the difference drawn from the base.

The interval is that of tuned - base, moved to the base's score, so the eye sees what the verdict says: it is better or
worse where the interval leaves the base's mark out. Pure geometry, places in per cent of the width.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from finetune_api.report import MetricResult
from finetune_trainer.result_report.wording import RIVAL_TITLES, metric_title, score

_FIXED_SCALES: Final = {
    **dict.fromkeys(
        ("exact_match", "token_f1", "rouge_l", "accuracy", "precision", "recall", "f1", "pair_accuracy"), (0.0, 1.0)
    ),
    "chrf": (0.0, 100.0),
}


@dataclass(frozen=True, slots=True)
class Dot:
    """A model on the line."""

    at: float
    title: str


@dataclass(frozen=True, slots=True)
class Strip:
    """One metric."""

    metric: MetricResult
    title: str
    start: float
    """The score at the left end, and at the right end."""
    end: float
    baseline: Dot
    rivals: list[Dot]
    tuned: Dot
    low: float
    """Ends of the interval."""
    high: float

    @property
    def label(self) -> str:
        """The strip in words, for those who do not see it."""
        dots = ", ".join(dot.title for dot in (self.baseline, *self.rivals, self.tuned))
        return f"{self.title}: {dots}; {self.metric.verdict}"


def draw_strips(metrics: Sequence[MetricResult], *, fraction: bool = False) -> list[Strip]:
    """A strip per metric; with `fraction`, all are shares between 0 and 1."""
    return [_strip(metric, (0.0, 1.0) if fraction else _scale(metric)) for metric in metrics]


def _strip(metric: MetricResult, scale: tuple[float, float]) -> Strip:
    start, end = scale

    def at(value: float) -> float:
        if not math.isfinite(value):
            return 100.0
        return round(100 * min(max((value - start) / (end - start), 0.0), 1.0), 2)

    return Strip(
        metric=metric,
        title=metric_title(metric.name),
        start=start,
        end=end,
        baseline=Dot(at(metric.baseline), f"base {score(metric.baseline)}"),
        rivals=[Dot(at(each.score), f"{RIVAL_TITLES[each.name]} {score(each.score)}") for each in metric.rivals],
        tuned=Dot(at(metric.tuned), f"tuned {score(metric.tuned)}"),
        low=at(metric.baseline + metric.low),
        high=at(metric.baseline + metric.high),
    )


def _scale(metric: MetricResult) -> tuple[float, float]:
    """Fixed for scores with two ends; else from 0 to a round number above everything that is drawn."""
    if metric.name in _FIXED_SCALES:
        return _FIXED_SCALES[metric.name]
    drawn = [metric.baseline, metric.tuned, *(rival.score for rival in metric.rivals)]
    finite = [value for value in (*drawn, metric.baseline + metric.high) if math.isfinite(value)]
    start = min(0.0, *finite) if finite else 0.0
    return start, _round_up(max((*finite, start + 1e-9)))


def _round_up(value: float) -> float:
    """The next of 1, 2, 3, 4, 5, 6, 8 and 10 times a power of ten."""
    if value <= 0:
        return 0.0 if value < 0 else 1.0
    magnitude = 10.0 ** math.floor(math.log10(value))
    return next(step * magnitude for step in (1, 2, 3, 4, 5, 6, 8, 10, 20) if step * magnitude >= value)
