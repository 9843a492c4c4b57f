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
    lengths: Sequence[int],
    *,
    seed: int,
    epochs: float,
    max_steps: int | None,
    tokens_per_step: int,
    repeats: Sequence[float] | None = None,
) -> tuple[Step, ...]:
    """All steps of a run. Each takes rows until another would exceed `tokens_per_step` real tokens, but at least one.

    `epochs` may be fractional: the last one then takes that share of its rows. Steps run across the end of an epoch.
    `repeats` says how often an epoch takes each row, once where it is None: with 0.5 a row comes in every second epoch.
    """
    steps: list[Step] = []
    step: list[int] = []
    tokens = 0
    for row in _order(len(lengths), seed, epochs, repeats):
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


def _order(rows: int, seed: int, epochs: float, repeats: Sequence[float] | None) -> list[int]:
    order: list[int] = []
    for epoch in range(math.ceil(epochs)):
        share = min(1.0, epochs - epoch)
        taken = range(rows) if repeats is None else _taken(repeats, seed, epoch)
        order += _shuffled(taken, seed, epoch)[: max(1, round(len(taken) * share))]
    return order


def _taken(repeats: Sequence[float], seed: int, epoch: int) -> list[int]:
    """The rows of an epoch, each as often as it comes.

    After n epochs a row has come floor(n x repeats + u) times, u in [0, 1) by its hash: an epoch takes the wanted
    share of a data set, and no row waits longer for its turn than it must.
    """
    taken: list[int] = []
    for row, often in enumerate(repeats):
        phase = 0.0 if often == int(often) else _mark(f"{seed}:phase:{row}")[0] / 256
        taken += [row] * (math.floor((epoch + 1) * often + phase) - math.floor(epoch * often + phase))
    return taken


def _shuffled(rows: Sequence[int], seed: int, epoch: int) -> list[int]:
    """By a hash of the row; equal rows, where a row comes more than once, by one of the row and its count."""
    seen: dict[int, int] = {}
    marks = []
    for row in rows:
        again = seen[row] = seen.get(row, -1) + 1
        marks.append(_mark(f"{seed}:{epoch}:{row}" if not again else f"{seed}:{epoch}:{row}:{again}"))
    return [rows[place] for place in sorted(range(len(rows)), key=marks.__getitem__)]


def _mark(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=16).digest()
