"""A new head on the state of each row's last token."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from finetune_trainer.data.encode import Tokenized
from finetune_trainer.loss import collate
from finetune_trainer.model import causal_lm


def last_scores(model: Any, rows: Sequence[Tokenized], *, packing: bool) -> Tensor:  # noqa: ARG001  packing is to come
    """Outputs of the head for each row, float32 [rows, outputs]; differentiable.

    Rows are padded on the right. The last token is found by length: where the pad token is one that rows end in, a
    search by id would take the state before it.
    """
    whole = causal_lm(model)
    decoder = getattr(whole, whole.base_model_prefix)
    batch = collate(rows, next(model.parameters()).device)
    states = decoder(input_ids=batch.token_ids, use_cache=False).last_hidden_state
    ends = torch.tensor([len(row.token_ids) for row in rows]).to(states.device)
    scores: Tensor = whole.score(states[torch.arange(len(rows), device=states.device), ends - 1].float())
    return scores
