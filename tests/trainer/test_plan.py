"""The plan is a pure function, covers every row, and keeps within its budgets."""

from itertools import pairwise, zip_longest

from hypothesis import given
from hypothesis import strategies as st

from finetune_trainer.data.plan import micro_batches, plan_digest, plan_steps, shares

LENGTHS = st.lists(st.integers(1, 50), min_size=1, max_size=60)
SEEDS = st.integers(0, 2**31 - 1)


@given(LENGTHS, SEEDS, st.integers(1, 3), st.integers(16, 200))
def test_every_row_is_learnt_from_once_an_epoch(lengths, seed, epochs, budget):
    plan = plan_steps(lengths, seed=seed, epochs=epochs, max_steps=None, tokens_per_step=budget)
    order = [row for step in plan for row in step]
    for epoch in range(epochs):
        part = order[epoch * len(lengths) : (epoch + 1) * len(lengths)]
        assert sorted(part) == list(range(len(lengths)))


@given(LENGTHS, SEEDS, st.integers(16, 200))
def test_a_step_has_as_many_rows_as_fit(lengths, seed, budget):
    plan = plan_steps(lengths, seed=seed, epochs=1, max_steps=None, tokens_per_step=budget)
    for step, following in pairwise(plan):
        tokens = sum(lengths[row] for row in step)
        assert tokens <= budget or len(step) == 1
        assert tokens + lengths[following[0]] > budget


@given(LENGTHS, SEEDS, st.integers(16, 200))
def test_micro_batches_cut_a_step_into_batches_within_their_padded_size(lengths, seed, budget):
    (step,) = plan_steps(lengths, seed=seed, epochs=1, max_steps=None, tokens_per_step=10**6)
    batches = micro_batches(step, lengths, budget)
    assert sorted(row for batch in batches for row in batch) == sorted(step)
    for batch in batches:
        assert len(batch) * max(lengths[row] for row in batch) <= budget or len(batch) == 1


@given(LENGTHS, SEEDS, st.integers(16, 200))
def test_packed_micro_batches_are_within_their_real_tokens_and_no_more_than_padded_ones(lengths, seed, budget):
    (step,) = plan_steps(lengths, seed=seed, epochs=1, max_steps=None, tokens_per_step=10**6)
    batches = micro_batches(step, lengths, budget, packing=True)
    assert sorted(row for batch in batches for row in batch) == sorted(step)
    for batch, following in zip_longest(batches, batches[1:], fillvalue=None):
        tokens = sum(lengths[row] for row in batch)
        assert tokens <= budget or len(batch) == 1
        assert following is None or tokens + lengths[following[0]] > budget
    assert len(batches) <= len(micro_batches(step, lengths, budget))


@given(LENGTHS, SEEDS, st.integers(1, 5))
def test_a_step_is_divided_among_processes_as_evenly_as_its_longest_row_allows(lengths, seed, ranks):
    (step,) = plan_steps(lengths, seed=seed, epochs=1, max_steps=None, tokens_per_step=10**6)
    divided = shares(step, lengths, ranks)
    assert len(divided) == ranks
    assert sorted(row for share in divided for row in share) == sorted(step)
    tokens = [sum(lengths[row] for row in share) for share in divided]
    assert max(tokens) - min(tokens) <= max(lengths)


def test_the_plan_does_not_change_between_versions():
    """A checkpoint holds this digest; another order of rows under it would make resume inexact."""
    plan = plan_steps([5, 9, 3, 7, 2, 8], seed=3, epochs=2, max_steps=None, tokens_per_step=16)
    assert plan_digest(plan) == "sha256:f59506883e06a688a13084b33a8f1caea46bd2ce210108db221901e3de4f8588"


def test_epochs_differ_in_order_and_seeds_do_too():
    two = plan_steps([1] * 50, seed=0, epochs=2, max_steps=None, tokens_per_step=50)
    other = plan_steps([1] * 50, seed=1, epochs=1, max_steps=None, tokens_per_step=50)
    assert len({two[0], two[1], other[0]}) == 3


def test_part_of_an_epoch_is_that_share_of_its_rows():
    plan = plan_steps([1] * 40, seed=0, epochs=1.25, max_steps=None, tokens_per_step=10)
    assert sum(map(len, plan)) == 50


def test_max_steps_ends_the_plan_early():
    arguments = {"seed": 0, "epochs": 3, "tokens_per_step": 10}
    whole = plan_steps([4] * 30, max_steps=None, **arguments)
    assert plan_steps([4] * 30, max_steps=7, **arguments) == whole[:7]
    assert plan_steps([4] * 30, max_steps=len(whole) + 5, **arguments) == whole
