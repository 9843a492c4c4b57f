"""Several continuations of one prompt scored together: the prompt goes through the model once, not once for each.

A prompt and its continuations are one sequence: first the tokens that all share, then each continuation's own, at the
positions that they have in a row of their own and attending to the shared tokens and to themselves alone (the tree
attention of Cai et al. 2024, arXiv:2401.10774, and others). Nothing but the order of sums differs from rows apart.

A model may not heed such a mask: a sliding window, a recurrence, positions of its own. So the longest row is scored
both ways first, and where they differ, all rows are scored apart.
"""

import functools
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import torch
from torch import Tensor

from finetune_trainer.data.encode import Tokenized
from finetune_trainer.data.plan import Step, micro_batches
from finetune_trainer.evaluate.batches import NOT_RECORDED, Numbers, Recording, run_batches
from finetune_trainer.loss import Batch, collate, row_losses

LOG: Final = logging.getLogger(__name__)

_TOLERANCES: Final = {torch.float32: 1e-3}
_COARSE: Final = 0.05
"""Largest accepted difference of a summed loss, as a share of it or, below 1, absolute: some hundred times what
rounding makes in float32, some ten times in half precision."""


@dataclass(frozen=True, slots=True)
class Tree:
    """Sequences with a common beginning."""

    sequences: Sequence[Tokenized]
    shared: int
    """Tokens at the beginning that are alike and not supervised, but for the last of them."""

    @property
    def length(self) -> int:
        """Tokens, the shared ones counted once."""
        return self.shared + sum(len(each.token_ids) - self.shared for each in self.sequences)


def make_trees(sequences: Sequence[Tokenized], budget: int) -> list[Tree]:
    """Trees that hold sequences in their order, each tree of at most `budget` tokens or of a single sequence."""
    shared = _shared(sequences)
    trees: list[Tree] = []
    members: list[Tokenized] = []
    for sequence in sequences:
        if members and Tree([*members, sequence], shared).length > budget:
            trees.append(Tree(members, shared))
            members = []
        members.append(sequence)
    return [*trees, Tree(members, shared)]


def score_branches(
    model: Any,
    rows: Sequence[Sequence[Tokenized]],
    batch_tokens: int,
    on_batch: Callable[[int], None],
    recording: Recording = NOT_RECORDED,
) -> Tensor:
    """Summed loss of each sequence, float64 [rows, branches]; a row's sequences are alike up to what is supervised.

    Batches are padded to at most `batch_tokens` tokens. `on_batch` is called with the number of trees of each finished
    batch; it may raise to stop.
    """
    trees = [tree for row in rows for tree in make_trees(row, batch_tokens)]
    plan = micro_batches(tuple(range(len(trees))), [tree.length for tree in trees], batch_tokens)
    inputs = [part for row in rows for each in row for part in (each.token_ids, each.weights)]

    @functools.cache
    def suits() -> bool:
        return _suits(model, trees[plan[0][0]], batch_tokens)

    def compute(batch: Step) -> list[Numbers]:
        chosen = [trees[index] for index in batch]
        return _together(model, chosen) if suits() else [_apart(model, tree, batch_tokens) for tree in chosen]

    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode(), recording.open("branches", inputs, plan, {}) as tape:
            found = run_batches(plan, compute, on_batch, tape, recording.ranks)
    finally:
        model.train(was_training)
    return torch.tensor([loss for tree in found for loss in tree], dtype=torch.float64).view(len(rows), -1)


def _shared(sequences: Sequence[Tokenized]) -> int:
    """Tokens that all begin with, less than come before the first supervised one: that is predicted from its own."""
    first = sequences[0].token_ids
    most = min(next((i for i, weight in enumerate(each.weights) if weight > 0), 1) for each in sequences) - 1
    alike = range(max(most, 0))
    return next((i for i in alike if any(each.token_ids[i] != first[i] for each in sequences)), len(alike))


def _suits(model: Any, tree: Tree, batch_tokens: int) -> bool:
    """Whether a tree's sequences come out as they do apart."""
    apart = torch.tensor(_apart(model, tree, batch_tokens))
    batch = _collate([tree], next(model.parameters()).device, model.dtype)
    try:
        together = row_losses(model, batch).cpu()
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        LOG.info("labels are scored apart: the model does not take them together (%s)", type(error).__name__)
        return False
    difference = float(((together - apart).abs() / apart.abs().clamp_min(1)).max())
    is_alike = difference <= _TOLERANCES.get(model.dtype, _COARSE)
    if not is_alike:
        LOG.info("labels are scored apart: together they come out otherwise (by %.2g)", difference)
    return is_alike


def _apart(model: Any, tree: Tree, batch_tokens: int) -> Numbers:
    """Losses of a tree's sequences, each as a row of its own."""
    sequences = tree.sequences
    device = next(model.parameters()).device
    losses: dict[int, float] = {}
    for indices in micro_batches(
        tuple(range(len(sequences))), [len(each.token_ids) for each in sequences], batch_tokens
    ):
        found = row_losses(model, collate([sequences[index] for index in indices], device))
        losses |= dict(zip(indices, found.tolist(), strict=True))
    return [losses[index] for index in range(len(sequences))]


def _together(model: Any, trees: Sequence[Tree]) -> list[Numbers]:
    """Losses of the sequences of each tree."""
    losses = iter(row_losses(model, _collate(trees, next(model.parameters()).device, model.dtype)).tolist())
    return [[next(losses) for _ in tree.sequences] for tree in trees]


def _collate(trees: Sequence[Tree], device: torch.device, dtype: torch.dtype) -> Batch:
    """One batch of trees, whose rows are their sequences, one tree's after the other's."""
    flat = [Tokenized(*_flatten(tree), tree.sequences[0].source) for tree in trees]
    batch = collate(flat, device)
    length = batch.token_ids.shape[1]
    branches = torch.full((len(trees), length), -1)
    positions = torch.zeros(len(trees), length, dtype=torch.int64)
    for row, tree in enumerate(trees):
        parts = list(_parts(tree))
        branches[row, : tree.length] = torch.cat([torch.full((count,), branch) for branch, _, count in parts])
        positions[row, : tree.length] = torch.cat([torch.arange(start, start + count) for _, start, count in parts])
    offsets = torch.tensor([0, *(len(tree.sequences) for tree in trees)]).cumsum(0)
    # Branch 0 is what is shared, -1 is padding, which sees itself alone.
    sees = (branches[:, None, :] == 0) & (branches[:, :, None] >= 0) | (branches[:, None, :] == branches[:, :, None])
    sees &= torch.ones(length, length, dtype=torch.bool).tril()
    mask = torch.zeros(sees.shape, dtype=dtype).masked_fill(~sees, torch.finfo(dtype).min)
    sequence_of = (branches - 1 + offsets[:-1, None]).flatten().to(device)
    return replace(
        batch,
        rows=sequence_of[batch.positions],
        size=int(offsets[-1]),
        inputs={"position_ids": positions.to(device), "attention_mask": mask[:, None].to(device)},
    )


def _parts(tree: Tree) -> Iterator[tuple[int, int, int]]:
    """Branch, first position and length of each part; 0 is what is shared."""
    yield 0, 0, tree.shared
    for branch, sequence in enumerate(tree.sequences, start=1):
        yield branch, tree.shared, len(sequence.token_ids) - tree.shared


def _flatten(tree: Tree) -> tuple[list[int], list[float]]:
    """Token ids and weights of a tree."""
    own = [slice(0, tree.shared), *(slice(tree.shared, None) for _ in tree.sequences)]
    parts = list(zip([tree.sequences[0], *tree.sequences], own, strict=True))
    return (
        [int(token) for sequence, part in parts for token in sequence.token_ids[part]],
        [float(weight) for sequence, part in parts for weight in sequence.weights[part]],
    )
