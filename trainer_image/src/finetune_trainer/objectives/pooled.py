"""A new head on the state of each row's last token."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from finetune_trainer.attention import to_device
from finetune_trainer.data.encode import Tokenized
from finetune_trainer.loss import collate, hidden_states
from finetune_trainer.model import causal_lm


def last_scores(model: Any, rows: Sequence[Tokenized], *, packing: bool) -> Tensor:
    """Outputs of the head for each row, float32 [rows, outputs]; differentiable.

    The last token is found by length: where the pad token is one that rows end in, a search by id would take the state
    before it.
    """
    device = next(model.parameters()).device
    batch = collate(rows, device, packing=packing)
    lengths = torch.tensor([len(row.token_ids) for row in rows])
    starts = lengths.cumsum(0) - lengths if packing else torch.arange(len(rows)) * batch.token_ids.shape[1]
    last = to_device(starts + lengths - 1, device)
    scores: Tensor = causal_lm(model).score(hidden_states(model, batch)[last].float())
    return scores
