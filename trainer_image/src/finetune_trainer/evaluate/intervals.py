"""95 % intervals of a model's score, and of the difference between two models on the same rows.

Rows are paired, and the intervals of differences use it: two models that are right on the same rows differ by less
chance than two that are not. Each interval fits its metric: score intervals where a row is right or wrong, Wilson's of
one model and Tango's of two (a bootstrap of zeros and ones collapses near 0 and 1), and for the rest the bootstrap over
rows with the metric computed anew.
"""

from collections.abc import Callable, Iterator, Sequence
from math import copysign, inf, sqrt
from statistics import NormalDist
from typing import Final

import numpy as np

from finetune_trainer.evaluate.metrics import Floats, ratio

_Z: Final = NormalDist().inv_cdf(0.975)
_RESAMPLES: Final = 4000
_CHUNK: Final = 4_000_000
"""Row weights that exist at once."""
_STUDENTISED_ROWS: Final = 30
_SOUND_SHARE: Final = 0.99
"""Of the resamples, so many must have an error of their own."""
_LEAST_ERROR: Final = 1e-6
"""An error below this share of the sample's own is rounding."""


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


def wilson(right: Floats) -> tuple[float, float]:
    """Score interval of a proportion (Wilson 1927, JASA 22:209-212) from float64 [rows] of 0 and 1."""
    rows, share = len(right), float(right.mean())
    shrink = 1 + _Z**2 / rows
    middle = (share + _Z**2 / (2 * rows)) / shrink
    half = _Z / shrink * sqrt(share * (1 - share) / rows + _Z**2 / (4 * rows**2))
    # At shares of 0 and 1 an end is exact; rounding must not take it beyond.
    return min(max(middle - half, 0.0), share), max(min(middle + half, 1.0), share)


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
    """Interval of the difference of two scores of the same rows, by `resample`.

    `baseline` and `tuned` are row statistics, float64 [rows, k]; `combine` makes scores of their sums. One row proves
    nothing: its interval then reaches to zero.
    """
    if len(tuned) == 1:
        difference = float(combine(tuned[0]) - combine(baseline[0]))
        return min(difference, 0.0), max(difference, 0.0)
    low, high = resample([baseline, tuned], combine, seed)
    return float(low), float(high)


def bootstrap_score(table: Floats, combine: Callable[[Floats], Floats], seed: int) -> tuple[float, float]:
    """Interval of one model's own score, by `resample`; `table` is float64 [rows, k]. That of one row is a point."""
    if len(table) == 1:
        return (float(combine(table[0])),) * 2
    low, high = resample([table], combine, seed)
    return float(low), float(high)


def resample(tables: Sequence[Floats], combine: Callable[[Floats], Floats], seed: int) -> tuple[Floats, Floats]:
    """Interval over resampled rows of one score, or of the second score less the first.

    Percentiles of the resampled scores (Efron 1979), expanded for few rows (Hesterberg 2015, section 4.2). For losses
    and means they are too narrow where few rows weigh much; those are ratios of sums, whose error is known in closed
    form, so that from 30 rows on the distance from the score is resampled in units of its error (bootstrap-t, Efron
    1982, section 10.10). That in turn fails where resamples lack every row that differs: then percentiles it is.

    Args:
        tables: Row statistics of one model or of two, float64 [..., rows, k], at least two rows.
        combine: From their sums [..., k] to scores [...].
        seed: Of the resamples, which are the same for tables of as many rows.

    Returns:
        Lower and upper ends, float64 [...].

    """
    rows, columns = tables[0].shape[-2:]
    table = np.concatenate(tables, axis=-1)
    is_ratio = combine is ratio and rows >= _STUDENTISED_ROWS
    squares = _products(table) if is_ratio else None
    scores, errors = [], []
    for weights in _resamples(rows, seed):
        sums = weights @ table
        scores.append(_score(sums, columns, combine))
        if squares is not None:
            errors.append(_ratio_error(sums, weights @ squares))
    found = np.concatenate(scores, axis=-1)
    tail = NormalDist().cdf(-sqrt(rows / (rows - 1)) * _t_quantile(rows - 1))
    low, high = np.quantile(found, [tail, 1 - tail], axis=-1)
    if squares is None:
        return low, high
    whole = np.ones((1, rows))
    score, error = _score(whole @ table, columns, combine), _ratio_error(whole @ table, whole @ squares)
    error_of_each = np.concatenate(errors, axis=-1)
    has_error = error_of_each > _LEAST_ERROR * error
    t = np.divide(found - score, error_of_each, out=np.zeros_like(found), where=has_error)
    lower, upper = np.quantile(t, [0.025, 0.975], axis=-1)
    is_sound = has_error.mean(-1) >= _SOUND_SHARE
    score, error = score[..., 0], error[..., 0]
    return np.where(is_sound, score - upper * error, low), np.where(is_sound, score - lower * error, high)


def _resamples(rows: int, seed: int) -> Iterator[Floats]:
    """How often each row comes in each resample, float64 [some, rows], a few at a time."""
    generator = np.random.default_rng(seed)
    chunk = max(1, _CHUNK // rows)
    for start in range(0, _RESAMPLES, chunk):
        size = min(chunk, _RESAMPLES - start)
        yield generator.multinomial(rows, np.full(rows, 1 / rows), size=size).astype(float)


def _score(sums: Floats, columns: int, combine: Callable[[Floats], Floats]) -> Floats:
    """The score of sums [..., k], or of [..., 2k] the second less the first."""
    if sums.shape[-1] == columns:
        return combine(sums)
    return combine(sums[..., columns:]) - combine(sums[..., :columns])


def _products(table: Floats) -> Floats:
    """Products of each row's statistics with one another, [..., rows, k] to [..., rows, k * k]."""
    products: Floats = (table[..., :, None] * table[..., None, :]).reshape(*table.shape[:-1], -1)
    return products


def _ratio_error(sums: Floats, products: Floats) -> Floats:
    """Standard error [...] of a ratio, or of the second of two less the first, by the delta method.

    It is the root of the sum over the rows of the square of g x, where x are a row's statistics and g the gradient of
    the score at the sums. `sums` is [..., 2] or [..., 4], `products` [..., 4] or [..., 16].
    """
    over, under = sums[..., ::2], sums[..., 1::2]
    gradient = np.stack([1 / under, -over / under**2], axis=-1)
    if sums.shape[-1] == 4:
        gradient[..., 0, :] *= -1
    flat = gradient.reshape(sums.shape)
    square = (_products(flat) * products).sum(-1)
    error: Floats = np.sqrt(np.maximum(square, 0.0))
    return error


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
