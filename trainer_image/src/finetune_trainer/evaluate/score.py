"""Loss of reference answers: summed per row, so that means do not depend on how rows were batched.

A mean of per-batch means, the usual `eval_loss`, changes with the batch size; perplexity computed from it is wrong.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from finetune_trainer.data.encode import Tokenized
from finetune_trainer.data.plan import Step, micro_batches
from finetune_trainer.evaluate.batches import NOT_RECORDED, Numbers, Recording, run_batches
from finetune_trainer.loss import collate, row_losses


@dataclass(frozen=True, slots=True)
class RowLoss:
    """Loss of one row."""

    total: float
    """Sum of -log p over its supervised tokens."""
    tokens: int


def score(
    model: Any,
    rows: Sequence[Tokenized],
    batch_tokens: int,
    on_batch: Callable[[int], None] = lambda _rows: None,
    recording: Recording = NOT_RECORDED,
) -> list[RowLoss]:
    """Losses of `rows` in their order; batches are padded to at most `batch_tokens` tokens.

    `on_batch` is called with the number of rows of each finished batch; it may raise to stop.
    """
    device = next(model.parameters()).device
    totals = in_batches(
        model,
        rows,
        batch_tokens,
        lambda batch: row_losses(model, collate(batch, device)),
        on_batch,
        recording=recording,
        kind="losses",
    )
    return [RowLoss(float(total), row.targets) for total, row in zip(totals, rows, strict=True)]


def in_batches(
    model: Any,
    rows: Sequence[Tokenized],
    batch_tokens: int,
    compute: Callable[[list[Tokenized]], Tensor],
    on_batch: Callable[[int], None],
    *,
    recording: Recording = NOT_RECORDED,
    kind: str = "scores",
) -> Tensor:
    """What `compute` makes of batches of rows, [batch] or [batch, n]: for all rows in their order, float64 [rows, n].

    The model computes in evaluation mode, without gradients. `kind` tells recorded results of another `compute` apart.
    """
    plan = micro_batches(tuple(range(len(rows))), [len(row.token_ids) for row in rows], batch_tokens)

    def of_batch(batch: Step) -> list[Numbers]:
        results = compute([rows[index] for index in batch]).double().cpu()
        numbers: list[Numbers] = results.view(len(batch), -1).tolist()
        return numbers

    was_training = model.training
    model.eval()
    try:
        inputs = [part for row in rows for part in (row.token_ids, row.weights)]
        with torch.inference_mode(), recording.open(kind, inputs, plan, {}) as tape:
            found = run_batches(plan, of_batch, on_batch, tape, recording.ranks)
    finally:
        model.train(was_training)
    return torch.tensor(found, dtype=torch.float64)
