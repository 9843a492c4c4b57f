"""No test row is ever learnt from."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune_api.conditions import Reason
from finetune_api.spec.data import Split
from finetune_trainer.data.instruction import parse_conversation
from finetune_trainer.data.problems import Source
from finetune_trainer.data.rows import Conversation, Turn
from finetune_trainer.data.split import split_rows
from finetune_trainer.errors import DataError


def rows(*questions: object) -> list[Conversation]:
    return [
        Conversation((Turn("user", str(question)), Turn("assistant", "a")), Source("rows.jsonl", line))
        for line, question in enumerate(questions, start=1)
    ]


def asked(side: list[Conversation]) -> set[str]:
    return {row.question for row in side}


@given(st.lists(st.integers(0, 30), min_size=20, max_size=60), st.integers(0, 2**31 - 1))
def test_equal_rows_always_fall_on_one_side(questions, seed):
    try:
        sides = split_rows(rows(*questions), [], [], Split(validation=0.2, test=0.3, seed=seed))
    except DataError:
        return  # few different rows may leave a side without any
    assert not asked(sides.train) & asked(sides.test)
    assert not asked(sides.train) & asked(sides.validation)
    assert not asked(sides.validation) & asked(sides.test)
    assert len(sides.train) + len(sides.validation) + len(sides.test) == len(questions)
    assert sides.left_out == 0


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
    sides = split_rows(rows("a", "b", "c", "d"), rows("c", "v"), rows("c", "a"), Split())
    assert (asked(sides.train), asked(sides.validation), asked(sides.test)) == ({"b", "d"}, {"v"}, {"a", "c"})
    assert sides.left_out == 3


def test_an_input_and_the_same_text_in_one_turn_are_the_same_row():
    apart = parse_conversation({"instruction": "Sum up.", "input": "Rain.", "response": "Wet"}, None, Source("a", 1))
    turns = [{"role": "user", "content": "Sum up.\n\nRain."}, {"role": "assistant", "content": "Wet"}]
    together = parse_conversation({"messages": turns}, None, Source("b", 1))
    sides = split_rows([*rows("x"), apart], [], [together], Split(validation=0.0))
    assert sides.left_out == 1


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [(("a",), ("a",), "no rows left to learn from"), (("a", "b"), (), "no test rows")],
)
def test_a_side_without_rows_is_an_error_that_says_which(train, test, message):
    split = Split(test=0.0) if not test else Split()
    with pytest.raises(DataError, match=message) as caught:
        split_rows(rows(*train), [], rows(*test), split)
    assert caught.value.reason == Reason.DATASET_EMPTY
