"""Error analysis: each rule on an answer that it is for and on one that it must leave alone."""

import math

import pytest

from finetune_trainer.evaluate.errors import change, classify_answer, classify_label, count_changes, count_classes

PROMPT = "How do I reset the router in the hall?"
REFERENCE = "Hold the button for ten seconds."

CLASSES = {
    "the reference itself": ("Hold the button for ten seconds. ", REFERENCE, True, []),
    "an empty answer": (" \n", REFERENCE, True, ["empty"]),
    "empty up to the limit": ("", REFERENCE, False, ["empty", "never_stops"]),
    "other words for the same": ("Press the button for ten seconds.", REFERENCE, True, []),
    "cut at the limit": ("Hold the button for", REFERENCE, False, ["never_stops"]),
    "one phrase over and over": (
        "hold the button and " * 6, REFERENCE, False, ["never_stops", "repeats_itself", "too_long"]
    ),
    "a refrain that the reference has too": ("la la la la la la la la", "la la la la la la la", True, []),
    "twelve words instead of one": (
        "It is the router in the hall that you reset, of course", "Router", True, ["too_long"]
    ),
    "another subject": ("Bananas grow under tropical suns", REFERENCE, True, ["off_topic"]),
    "a short wrong answer": ("Bananas", "Router", True, []),
    "one phrase over and over in Chinese": ("重启路由器" * 6, "重启路由器", True, ["repeats_itself", "too_long"]),
}  # fmt: skip


@pytest.mark.parametrize("case", CLASSES)
def test_an_answer_is_in_the_classes_that_its_form_shows(case):
    answer, reference, finished, expected = CLASSES[case]
    assert classify_answer(answer, reference, PROMPT, finished=finished) == expected


@pytest.mark.parametrize(("answer", "expected"), [("a", []), ("b", ["wrong_label"]), ("", ["empty"])])
def test_a_classifier_s_answer_is_right_or_another_label_or_none(answer, expected):
    assert classify_label(answer, "a") == expected


CHANGES = [
    (0.0, 1.0, True, "fixed"),
    (1.0, 0.0, True, "broken"),
    (1.0, 1.0, True, "unchanged"),
    (2.0, 1.0, False, "fixed"),
    (1.0, 2.0, False, "broken"),
    (math.nan, 1.0, True, "fixed"),
    (1.0, math.inf, False, "broken"),
    (0.0, math.nan, True, "broken"),
    (math.nan, math.nan, True, "unchanged"),
]


@pytest.mark.parametrize(("baseline", "tuned", "higher_is_better", "expected"), CHANGES)
def test_a_row_is_fixed_or_broken_by_its_score_and_what_is_not_finite_is_worst(
    baseline, tuned, higher_is_better, expected
):
    assert change(baseline, tuned, higher_is_better=higher_is_better) == expected


def test_rows_are_counted_by_change_and_by_class():
    assert count_changes(["fixed", "broken", "fixed"]).model_dump() == {"fixed": 2, "broken": 1, "unchanged": 0}
    assert count_classes([["empty"], [], ["too_long", "off_topic"], ["off_topic"]]) == {
        "off_topic": 2, "empty": 1, "too_long": 1
    }  # fmt: skip
