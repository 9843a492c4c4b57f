"""When the validation rows are looked at, which measurement is the best, and when patience ends."""

import math

import pytest

from finetune_api.base import dump_plain, load_plain
from finetune_api.spec.job import FinetuneJobSpec
from finetune_trainer.control import Control
from finetune_trainer.errors import SettingsError
from finetune_trainer.from_spec import check_validation
from finetune_trainer.validation import Measurement, ValidationRecord, out_of_patience, points


@pytest.mark.parametrize(
    ("steps", "times", "expected"),
    [
        (100, 4, {25, 50, 75, 100}),
        (10, 4, {3, 5, 8, 10}),
        (10, 1, {10}),
        (3, 4, {1, 2, 3}),
        (1, 1000, {1}),
    ],
)
def test_measurements_are_evenly_spread_and_the_last_is_at_the_end(steps, times, expected):
    assert points(steps, times) == expected


def record(*values: float, higher_is_better: bool = False) -> ValidationRecord:
    found = ValidationRecord()
    for index, value in enumerate(values, start=1):
        found = found.after(10 * index, value, higher_is_better=higher_is_better)
    return found


@pytest.mark.parametrize(
    ("values", "higher_is_better", "step", "worse"),
    [
        ([3.0, 2.0, 1.0], False, 30, 0),
        ([3.0, 1.0, 2.0], False, 20, 1),
        ([1.0, 1.0, 1.0], False, 10, 2),
        ([0.5, 0.9, 0.7, 0.9], True, 20, 2),
        ([math.nan, 2.0, math.nan], False, 20, 1),
        ([-math.inf, 2.0], False, 20, 0),
    ],
)
def test_the_best_is_the_earliest_of_the_best_finite_ones(values, higher_is_better, step, worse):
    found = record(*values, higher_is_better=higher_is_better)
    assert found.best == Measurement(step=step, value=values[step // 10 - 1])
    assert (found.worse, found.step) == (worse, 10 * len(values))


def test_a_record_that_was_saved_goes_on_as_it_was():
    saved = load_plain(ValidationRecord, dump_plain(record(3.0, 1.0, math.nan)))
    assert saved.after(40, 0.5, higher_is_better=False) == record(3.0, 1.0, math.nan, 0.5)


@pytest.mark.parametrize(
    ("values", "patience", "expected"),
    [
        ([2.0, 1.0, 3.0], None, None),
        ([2.0, 1.0, 3.0], 2, None),
        ([2.0, 1.0, 3.0, 1.0], 2, "validation loss has not improved since step 20 (1; 2 measurements)"),
        ([2.0, 3.0], 1, "validation loss has not improved since step 10 (2; 1 measurements)"),
        ([math.nan, math.nan], 2, "validation loss was not finite at any of 2 measurements"),
        ([], 1, None),
    ],
)
def test_training_ends_when_so_many_measurements_in_a_row_were_no_better(values, patience, expected):
    assert out_of_patience(record(*values), Control(patience=patience)) == expected


def spec(**validation) -> FinetuneJobSpec:
    return FinetuneJobSpec.model_validate(
        {
            "model": {"uri": "s3://team/base"},
            "data": {"train": [{"uri": "s3://team/train/"}], "split": {"validation": 0}},
            "output": {"uri": "s3://team/out"},
            "training": {"validation": validation},
        }
    )


@pytest.mark.parametrize("asked", [{"metric": "chrf"}, {"keep": "best"}, {"patience": 3}])
def test_what_needs_validation_rows_is_refused_without_them_by_the_name_of_its_field(asked):
    with pytest.raises(SettingsError, match=f"training.validation.{next(iter(asked))} needs validation rows"):
        check_validation(spec(**asked), 0)
    check_validation(spec(**asked), 1)


def test_the_loss_is_followed_where_it_can_be():
    check_validation(spec(), 0)
