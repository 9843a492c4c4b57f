"""Which rows each optimiser step learns from, and how they are divided: pure functions of lengths and settings.

The order comes from a hash of (seed, epoch, row), not from a random generator's state, so a resumed run and another
version of a library walk through the same steps. The digest in every checkpoint proves it.
"""

import hashlib
import heapq
import json
import math
from collections.abc import Sequence

Step = tuple[int, ...]
"""Indices of the rows of one optimiser step."""


def plan_steps(
    lengths: Sequence[int], *, seed: int, epochs: float, max_steps: int | None, tokens_per_step: int
) -> tuple[Step, ...]:
    """All steps of a run. Each takes rows until another would exceed `tokens_per_step` real tokens, but at least one.

    `epochs` may be fractional: the last one then takes that share of its rows. Steps run across the end of an epoch.
    """
    steps: list[Step] = []
    step: list[int] = []
    tokens = 0
    for row in _order(len(lengths), seed, epochs):
        if step and tokens + lengths[row] > tokens_per_step:
            steps.append(tuple(step))
            if len(steps) == max_steps:
                return tuple(steps)
            step, tokens = [], 0
        step.append(row)
        tokens += lengths[row]
    return (*steps, tuple(step))


def micro_batches(step: Step, lengths: Sequence[int], budget: int, *, packing: bool = False) -> list[Step]:
    """Cut a step into batches within `budget` tokens, rows of like length together.

    The budget is of real tokens where rows are packed, otherwise of padded ones. A single row longer than it is a
    batch of its own.
    """
    batches: list[Step] = []
    batch: list[int] = []
    tokens = 0
    for row in sorted(step, key=lambda index: (-lengths[index], index)):
        # The first row is the longest, so it sets the padded length.
        space = lengths[row] if packing or not batch else lengths[batch[0]]
        if batch and tokens + space > budget:
            batches.append(tuple(batch))
            batch, tokens, space = [], 0, lengths[row]
        batch.append(row)
        tokens += space
    return [*batches, tuple(batch)] if batch else batches


def shares(step: Step, lengths: Sequence[int], ranks: int) -> list[Step]:
    """Divide a step among processes: the longest row first, always to the one that has the fewest tokens yet.

    Where there are fewer rows than processes, some get none.
    """
    divided: list[list[int]] = [[] for _ in range(ranks)]
    heap = [(0, rank) for rank in range(ranks)]
    for row in sorted(step, key=lambda index: (-lengths[index], index)):
        tokens, rank = heap[0]
        divided[rank].append(row)
        heapq.heapreplace(heap, (tokens + lengths[row], rank))
    return [tuple(rows) for rows in divided]


def plan_digest(plan: Sequence[Step]) -> str:
    """`sha256:<hex>` of a plan."""
    return f"sha256:{hashlib.sha256(json.dumps(plan).encode()).hexdigest()}"


def _order(rows: int, seed: int, epochs: float) -> list[int]:
    order: list[int] = []
    for epoch in range(math.ceil(epochs)):
        share = min(1.0, epochs - epoch)
        order += _shuffled(rows, seed, epoch)[: max(1, round(rows * share))]
    return order


def _shuffled(rows: int, seed: int, epoch: int) -> list[int]:
    marks = [hashlib.blake2b(f"{seed}:{epoch}:{row}".encode(), digest_size=16).digest() for row in range(rows)]
    return sorted(range(rows), key=marks.__getitem__)
