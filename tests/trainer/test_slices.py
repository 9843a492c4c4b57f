"""The parts of the test rows, and which of them are told as the worst."""

import numpy as np

from finetune_api.report import SliceResult
from finetune_trainer.evaluate.metrics import Metric, ratio
from finetune_trainer.evaluate.slices import parts_by_length, parts_by_name, score_parts, worst

METRIC = Metric("exact_match", ratio, is_binary=True)


def table(*scores):
    return np.stack([np.array(scores, float), np.ones(len(scores))], 1)


def test_one_name_is_no_division():
    assert parts_by_name(["a", "a"]) == {}
    assert parts_by_length([7, 7, 7]) == {}


def test_lengths_are_cut_into_quarters_and_equal_ones_stay_together():
    parts = parts_by_length([5, 1, 2, 3, 4, 6, 7, 8])
    assert list(parts) == ["1 to 2 tokens", "3 to 4 tokens", "5 to 6 tokens", "7 to 8 tokens"]
    assert [rows.sum() for rows in parts.values()] == [2, 2, 2, 2]
    skewed = parts_by_length([9] * 90 + list(range(10, 20)))
    assert sum(rows.sum() for rows in skewed.values()) == 100
    assert sum(rows[0] for rows in skewed.values()) == 1


def test_a_part_is_scored_on_its_own_rows():
    found = score_parts(parts_by_name(["b", "a", "b"]), METRIC, table(0, 1, 0), table(1, 0, 0))
    assert [(each.name, each.rows, each.baseline, each.tuned) for each in found] == [("a", 1, 1, 0), ("b", 2, 0, 0.5)]


def test_the_worst_come_first_and_small_or_good_parts_are_left_out():
    scored = [
        SliceResult(name=name, rows=rows, baseline=0, tuned=tuned)
        for name, rows, tuned in [("bad", 9, 0.3), ("good", 9, 0.9), ("small", 4, 0.0), ("worst", 5, 0.1)]
    ]
    assert [each.name for each in worst(scored, 0.6, higher_is_better=True)] == ["worst", "bad"]
    assert [each.name for each in worst(scored, 0.2, higher_is_better=False)] == ["good", "bad"]
