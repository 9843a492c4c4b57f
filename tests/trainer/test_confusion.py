"""Scores of a classifier agree with tables worked out by hand, and with what scikit-learn does about zeros."""

import numpy as np
import pytest

from finetune_trainer.evaluate.confusion import METRICS, confusion, tables

WANTED = [0, 0, 0, 1, 1, 2]
DECIDED = [0, 0, 1, 1, 2, 0]


def scores(wanted, decided, labels):
    found = tables(wanted, decided, labels)
    return {name: float(metric.combine(found[name].sum(0))) for name, metric in METRICS.items()}


def test_scores_are_those_of_the_table_by_hand():
    """Label 0: 2 right of 3 wanted and 3 given; 1: 1 of 2 and 2; 2: 0 of 1 and 1."""
    expected = {"accuracy": 3 / 6, "precision": (2 / 3 + 1 / 2 + 0) / 3, "recall": (2 / 3 + 1 / 2 + 0) / 3}
    assert scores(WANTED, DECIDED, 3) == pytest.approx({**expected, "f1": (2 / 3 + 1 / 2 + 0) / 3})


def test_precision_and_recall_are_not_mixed_up():
    """Label 0: 1 right of 3 wanted, 1 given; label 1: 1 right of 1 wanted, 3 given."""
    found = scores([0, 0, 0, 1], [0, 1, 1, 1], 2)
    assert found["precision"] == pytest.approx((1 / 1 + 1 / 3) / 2)
    assert found["recall"] == pytest.approx((1 / 3 + 1 / 1) / 2)
    assert found["f1"] == pytest.approx((2 * 1 / (3 + 1) + 2 * 1 / (1 + 3)) / 2)


def test_a_label_that_is_never_given_has_precision_zero_not_nothing():
    """As scikit-learn with zero_division=0: [0, 0, 1] against [0, 0, 0]."""
    found = scores([0, 0, 1], [0, 0, 0], 2)
    assert (found["precision"], found["recall"]) == pytest.approx((1 / 3, 1 / 2))
    assert found["f1"] == pytest.approx(0.4)


def test_a_label_that_neither_occurs_nor_is_given_does_not_count():
    assert scores(WANTED, DECIDED, 3) == scores(WANTED, DECIDED, 5)


def test_no_rows_have_scores_of_zero_not_nan():
    empty = np.zeros(6)
    assert [float(METRICS[name].combine(empty)) for name in ("precision", "recall", "f1")] == [0, 0, 0]


def test_an_answer_that_is_no_label_is_wrong_and_stays_in_the_denominator():
    found = scores([0, 1], [0, 2], 2)
    assert found["accuracy"] == 0.5
    assert found["recall"] == pytest.approx((1 + 0) / 2)


def test_the_confusion_matrix_has_a_last_column_for_answers_that_are_no_label():
    matrix = confusion(np.array([*WANTED, 1]), np.array([*DECIDED, 3]), 3)
    assert matrix == [[2, 1, 0, 0], [0, 1, 1, 1], [1, 0, 0, 0]]


def test_sums_of_several_resamples_are_scored_at_once():
    table = tables(WANTED, DECIDED, 3)["f1"]
    sums = np.stack([table.sum(0), table[:3].sum(0)])
    whole, part = METRICS["f1"].combine(sums)
    assert whole == pytest.approx(scores(WANTED, DECIDED, 3)["f1"])
    assert part == pytest.approx(scores(WANTED[:3], DECIDED[:3], 3)["f1"])
