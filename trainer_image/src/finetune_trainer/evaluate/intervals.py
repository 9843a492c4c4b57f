"""95 % intervals of the difference between two models on the same rows.

Rows are paired, and the intervals use it: two models that are right on the same rows differ by less chance than two
that are not. Each interval fits its metric: Tango's score interval where a row is right or wrong (a bootstrap of zeros
and ones collapses near 0 and 1), the bootstrap over rows with the metric computed anew for the rest.
"""

from collections.abc import Callable
from math import copysign, inf, sqrt
from statistics import NormalDist
from typing import Final

import numpy as np

from finetune_trainer.evaluate.metrics import Floats

_Z: Final = NormalDist().inv_cdf(0.975)
_RESAMPLES: Final = 4000
_CHUNK: Final = 4_000_000
"""Row weights that exist at once."""


def tango(baseline: Floats, tuned: Floats) -> tuple[float, float]:
    """Score interval of the difference of two paired proportions (Tango 1998, Statistics in Medicine 17:891-908).

    `baseline` and `tuned` are float64 [rows] of 0 and 1; the result is the interval of mean(tuned) - mean(baseline).
    """
    fixed = int(((tuned == 1) & (baseline == 0)).sum())
    broken = int(((tuned == 0) & (baseline == 1)).sum())
    rows = len(baseline)
    difference = (fixed - broken) / rows
    low = _root(lambda delta: _tango_score(fixed, broken, rows, delta) - _Z, -1.0, difference)
    high = _root(lambda delta: _tango_score(fixed, broken, rows, delta) + _Z, difference, 1.0)
    return low, high


def _tango_score(fixed: int, broken: int, rows: int, delta: float) -> float:
    """Score statistic of the hypothesis that the true difference is `delta`; falls as `delta` grows."""
    a = 2 * rows
    b = -fixed - broken + (2 * rows - fixed + broken) * delta
    c = -broken * delta * (1 - delta)
    # The nuisance parameter's estimate under the hypothesis: probability of a broken row.
    nuisance = (sqrt(max(b * b - 4 * a * c, 0.0)) - b) / (2 * a)
    variance = rows * (2 * nuisance + delta * (1 - delta))
    distance = fixed - broken - rows * delta
    if variance > 0:
        return distance / sqrt(variance)
    return copysign(inf, distance) if distance else 0.0


def _root(falling: Callable[[float], float], low: float, high: float) -> float:
    """Where a falling function crosses zero, by bisection to the last bit that matters."""
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if falling(middle) > 0 else (low, middle)
    return (low + high) / 2


def bootstrap(baseline: Floats, tuned: Floats, combine: Callable[[Floats], Floats], seed: int) -> tuple[float, float]:
    """Percentile interval over resampled rows (Efron 1979), expanded for few rows (Hesterberg 2015, section 4.2).

    `baseline` and `tuned` are row statistics, float64 [rows, k]; `combine` makes scores of their sums. One row proves
    nothing: its interval then reaches to zero.
    """
    rows = len(baseline)
    if rows == 1:
        difference = float(combine(tuned[0]) - combine(baseline[0]))
        return min(difference, 0.0), max(difference, 0.0)
    generator = np.random.default_rng(seed)
    chunk = max(1, _CHUNK // rows)
    differences = []
    for start in range(0, _RESAMPLES, chunk):
        size = min(chunk, _RESAMPLES - start)
        weights = generator.multinomial(rows, np.full(rows, 1 / rows), size=size)
        differences.append(combine(weights @ tuned) - combine(weights @ baseline))
    tail = NormalDist().cdf(-sqrt(rows / (rows - 1)) * _t_quantile(rows - 1))
    low, high = np.quantile(np.concatenate(differences), [tail, 1 - tail])
    return float(low), float(high)


def _t_quantile(freedom: int) -> float:
    """97.5 % quantile of Student's t by its expansion in 1/freedom (Abramowitz and Stegun 26.7.5)."""
    z = _Z
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + sum(term / float(freedom) ** order for order, term in enumerate(terms, start=1))
