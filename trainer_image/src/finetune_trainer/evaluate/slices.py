"""The test rows in parts, by data set, label or length of the prompt; and the parts that the tuned model is worst at.

One score of a small part is mostly chance, so parts of few rows are not ranked.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from finetune_api.report import SliceResult
from finetune_trainer.evaluate.metrics import Floats, Metric

_LEAST_ROWS: Final = 5
_MOST_SLICES: Final = 6
_LENGTH_PARTS: Final = 4

Parts = Mapping[str, NDArray[np.bool_]]
"""By name, which rows belong to a part: bool [rows]."""


def parts_by_name(names: Sequence[str]) -> Parts:
    """One part per name, in order of name; none where there is one name only, which is no division."""
    values = np.array(names)
    found = sorted(set(names))
    return {name: values == name for name in found} if len(found) > 1 else {}


def parts_by_length(lengths: Sequence[int]) -> Parts:
    """Four parts of about equally many rows, from short to long; rows of one length stay together."""
    values = np.array(lengths)
    quarters = np.arange(1, _LENGTH_PARTS) * len(values) // _LENGTH_PARTS
    longest = np.unique(np.sort(values)[np.maximum(quarters - 1, 0)])
    of_row = np.searchsorted(longest, values, side="left")
    parts = {}
    for part in np.unique(of_row):
        mine = of_row == part
        parts[_range(int(values[mine].min()), int(values[mine].max()))] = mine
    return parts if len(parts) > 1 else {}


def score_parts(parts: Parts, metric: Metric, baseline: Floats, tuned: Floats) -> list[SliceResult]:
    """A metric of both models on each part, in the order of the parts; tables are float64 [rows, k]."""
    return [
        SliceResult(
            name=name,
            rows=int(rows.sum()),
            baseline=float(metric.combine(baseline[rows].sum(0))),
            tuned=float(metric.combine(tuned[rows].sum(0))),
        )
        for name, rows in parts.items()
    ]


def worst(scored: Sequence[SliceResult], whole: float, *, higher_is_better: bool) -> list[SliceResult]:
    """The slices that the tuned model is worse at than at all rows, `whole`, the worst first; at most six."""
    sign = 1 if higher_is_better else -1
    below = [each for each in scored if each.rows >= _LEAST_ROWS and sign * each.tuned < sign * whole]
    return sorted(below, key=lambda each: sign * each.tuned)[:_MOST_SLICES]


def _range(low: int, high: int) -> str:
    return f"{low} tokens" if low == high else f"{low} to {high} tokens"
