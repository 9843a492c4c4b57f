"""No test row is ever learnt from."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune_api.conditions import Reason
from finetune_api.spec.data import Data, Dataset, Split
from finetune_trainer.data.instruction import parse_conversation
from finetune_trainer.data.problems import Source
from finetune_trainer.data.rows import Conversation, Turn
from finetune_trainer.data.split import SIDES, Repeats, Splitter, require_rows
from finetune_trainer.errors import DataError

LISTED = [Dataset(uri="s3://team/rows.jsonl")]


Rows = list[Conversation]


def rows(*questions: object) -> Rows:
    return [
        Conversation((Turn("user", str(question)), Turn("assistant", "a")), Source("rows.jsonl", line))
        for line, question in enumerate(questions, start=1)
    ]


def asked(side: Rows) -> set[str]:
    return {row.question for row in side}


@dataclass
class Sides:
    train: Rows
    validation: Rows
    test: Rows
    repeats: Repeats


def split_rows(train: Rows, validation: Rows, test: Rows, split: Split, batch: int = 7) -> Sides:
    """All rows on their sides, placed a few at a time."""
    listed = {"train": train, "validation": validation, "test": test}
    splitter = Splitter(
        Data(train=LISTED, validation=LISTED if validation else [], test=LISTED if test else [], split=split)
    )
    placed: dict[str, Rows] = {side: [] for side in SIDES}
    for side in SIDES:
        rule = splitter.begin(side)
        for start in range(0, len(listed[side]), batch):
            part = listed[side][start : start + batch]
            digests = [row.digest() for row in part]
            placement = rule.place(digests)
            splitter.take(side, digests, placement)
            for row, place in zip(part, placement.sides, strict=True):
                if place is not None:
                    placed[place].append(row)
    dropped = splitter.dropped_validation()
    followed = [row for row, gone in zip(placed["validation"], dropped, strict=True) if not gone]
    return Sides(placed["train"], followed, placed["test"], splitter.repeats())


@given(st.lists(st.integers(0, 30), min_size=20, max_size=60), st.integers(0, 2**31 - 1))
def test_equal_rows_always_fall_on_one_side(questions, seed):
    sides = split_rows(rows(*questions), [], [], Split(validation=0.2, test=0.3, seed=seed))
    assert not asked(sides.train) & asked(sides.test)
    assert not asked(sides.train) & asked(sides.validation)
    assert not asked(sides.validation) & asked(sides.test)
    assert len(sides.train) + len(sides.validation) + len(sides.test) == len(questions)
    assert sides.repeats.left_out == 0
    different = len(asked(sides.train)) + len(asked(sides.validation)) + len(asked(sides.test))
    assert sum(sides.repeats.duplicates.values()) == len(questions) - different


QUESTIONS = st.lists(st.integers(0, 20), max_size=30)


@given(QUESTIONS, QUESTIONS, QUESTIONS, st.integers(0, 1000), st.integers(1, 30))
def test_whatever_is_listed_sides_share_no_row_and_only_shared_rows_are_left_out(train, validation, test, seed, batch):
    split = Split(validation=0.2, test=0.3, seed=seed)
    sides = split_rows(rows(*train), rows(*validation), rows(*test), split, batch)
    assert not asked(sides.train) & (asked(sides.validation) | asked(sides.test))
    assert not asked(sides.validation) & asked(sides.test)
    assert {row.question for row in sides.test} >= set(map(str, test))
    every = set(map(str, (*train, *validation, *test)))
    assert asked(sides.train) | asked(sides.validation) | asked(sides.test) == every
    kept = len(sides.train) + len(sides.validation) + len(sides.test)
    assert kept + sides.repeats.left_out == len(train) + len(validation) + len(test)


def test_a_new_row_moves_no_other_row():
    before = split_rows(rows(*range(100)), [], [], Split())
    after = split_rows(rows("new", *range(100)), [], [], Split())
    assert asked(before.test) <= asked(after.test)
    assert asked(before.train) <= asked(after.train)


def test_the_shares_are_about_those_asked_for():
    sides = split_rows(rows(*range(2000)), [], [], Split(validation=0.1, test=0.2))
    assert 150 < len(sides.validation) < 250
    assert 330 < len(sides.test) < 470


def test_another_seed_is_another_split():
    first, second = (split_rows(rows(*range(100)), [], [], Split(seed=seed)) for seed in (0, 1))
    assert asked(first.test) != asked(second.test)


def test_listed_test_rows_are_taken_out_of_everything_learnt_from():
    sides = split_rows(rows("a", "b", "c", "d", "v"), rows("c", "v"), rows("c", "a"), Split())
    assert (asked(sides.train), asked(sides.validation), asked(sides.test)) == ({"b", "d"}, {"v"}, {"a", "c"})
    repeats = sides.repeats
    assert (repeats.train_test, repeats.train_validation, repeats.validation_test) == (2, 1, 1)


def test_an_input_and_the_same_text_in_one_turn_are_the_same_row():
    apart = parse_conversation({"instruction": "Sum up.", "input": "Rain.", "response": "Wet"}, None, Source("a", 1))
    turns = [{"role": "user", "content": "Sum up.\n\nRain."}, {"role": "assistant", "content": "Wet"}]
    together = parse_conversation({"messages": turns}, None, Source("b", 1))
    sides = split_rows([*rows("x"), apart], [], [together], Split(validation=0.0))
    assert sides.repeats.left_out == 1


@pytest.mark.parametrize(("train", "test", "message"), [(0, 1, "no rows left to learn from"), (2, 0, "no test rows")])
def test_a_side_without_rows_is_an_error_that_says_which(train, test, message):
    with pytest.raises(DataError, match=message) as caught:
        require_rows(train=train, test=test)
    assert caught.value.reason == Reason.DATASET_EMPTY
