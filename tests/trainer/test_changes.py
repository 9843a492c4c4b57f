"""What a user is told about two specs that are not the same job."""

import pytest

from finetune_trainer.changes import changed_settings


@pytest.mark.parametrize(
    ("was", "now", "told"),
    [
        ({"training": {"seed": 1}}, {"training": {"seed": 1}}, ""),
        (
            {"training": {"learningRate": 0.0002}},
            {"training": {"learningRate": 0.001}},
            "training.learningRate was 0.0002 and is 0.001",
        ),
        ({}, {"method": {"type": "dora"}}, "method.type was not set and is dora"),
        ({"method": {"type": "dora"}}, {}, "method.type was dora and is not set"),
        (
            {"data": {"train": [{"uri": "s3://a/x"}, {"uri": "s3://a/y", "weight": 2}]}},
            {"data": {"train": [{"uri": "s3://a/x"}, {"uri": "s3://a/z", "weight": 2}]}},
            "data.train[1].uri was s3://a/y and is s3://a/z",
        ),
        ({"labels": ["a", "b"]}, {"labels": ["b", "a"]}, 'labels was ["a", "b"] and is ["b", "a"]'),
        ({"worldSize": 1, "packing": True}, {"worldSize": 2, "packing": True}, "worldSize was 1 and is 2"),
    ],
)
def test_every_difference_is_named_with_both_values(was, now, told):
    assert changed_settings(was, now) == told


def test_what_would_not_fit_a_message_is_cut_and_counted():
    was = {f"setting{number}": "x" * 500 for number in range(9)}
    told = changed_settings(was, {})
    assert told.endswith("setting4 was " + "x" * 77 + "... and is not set, 4 more")
    assert len(told) < 800
