"""Accuracy, precision, recall and F1 of a classifier, from counts that may be summed over rows.

Precision, recall and F1 are unweighted means over the labels that occur in the test rows or among the answers; what
would be divided by zero is 0. That is scikit-learn's `average="macro", zero_division=0`.
"""

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from finetune_trainer.evaluate.metrics import Floats, Metric, ratio

Indices = NDArray[np.int64]
"""Labels of rows, int64 [rows]; an answer that is no label has the number of labels."""


def right_table(wanted: Indices, decided: Indices) -> Floats:
    """Statistics of accuracy, float64 [rows, 2]: right or wrong, and 1."""
    right: Floats = (wanted == decided).astype(float)
    return np.stack([right, np.ones_like(right)], axis=1)


def count_table(wanted: Indices, decided: Indices, labels: int) -> Floats:
    """Statistics of the other scores, float64 [rows, 3 x labels]: by label, whether it is rightly given, wanted, given.

    Summed they are all that precision, recall and F1 need of the confusion matrix.
    """
    numbers = np.arange(labels)
    is_wanted, is_given = wanted[:, None] == numbers, decided[:, None] == numbers
    return np.concatenate([is_wanted & is_given, is_wanted, is_given], axis=1).astype(float)


def confusion(wanted: Indices, decided: Indices, labels: int) -> list[list[int]]:
    """Rows by wanted label, columns by the given one; the last column counts answers that are no label."""
    matrix = np.zeros((labels, labels + 1), dtype=int)
    np.add.at(matrix, (wanted, decided), 1)
    counts: list[list[int]] = matrix.tolist()
    return counts


def _macro(score: Callable[[Floats, Floats, Floats], tuple[Floats, Floats]]) -> Callable[[Floats], Floats]:
    """The mean over the labels of a fraction of (rightly given, wanted, given)."""

    def combine(sums: Floats) -> Floats:
        right, wanted, given = np.split(sums, 3, axis=-1)
        over, under = score(right, wanted, given)
        each = np.divide(over, under, out=np.zeros_like(over), where=under > 0)
        occurring = (wanted + given > 0).sum(-1)
        result: Floats = each.sum(-1) / np.maximum(occurring, 1)
        return result

    return combine


ACCURACY: Final = Metric("accuracy", ratio, is_binary=True)
METRICS: Final = {
    metric.name: metric
    for metric in (
        ACCURACY,
        Metric("precision", _macro(lambda right, _wanted, given: (right, given)), of_a_row=False),
        Metric("recall", _macro(lambda right, wanted, _given: (right, wanted)), of_a_row=False),
        Metric("f1", _macro(lambda right, wanted, given: (2 * right, wanted + given)), of_a_row=False),
    )
}
"""Scores of a classifier by the name that `evaluation.metrics` uses."""


def tables(wanted: Sequence[int], decided: Sequence[int], labels: int) -> dict[str, Floats]:
    """Statistics of all rows by metric."""
    rows, answers = np.asarray(wanted), np.asarray(decided)
    counts = count_table(rows, answers, labels)
    return {name: right_table(rows, answers) if name == "accuracy" else counts for name in METRICS}
