"""A new head on the state of each row's last token."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from finetune_trainer.data.encode import Tokenized
from finetune_trainer.model import causal_lm


def last_scores(model: Any, rows: Sequence[Tokenized], *, packing: bool) -> Tensor:  # noqa: ARG001  packing is to come
    """Outputs of the head for each row, float32 [rows, outputs]; differentiable.

    Rows are padded on the right. The last token is found by length: where the pad token is one that rows end in, a
    search by id would take the state before it.
    """
    whole = causal_lm(model)
    decoder = getattr(whole, whole.base_model_prefix)
    device = next(model.parameters()).device
    lengths = [len(row.token_ids) for row in rows]
    token_ids = torch.zeros(len(rows), max(lengths), dtype=torch.int64)
    for index, row in enumerate(rows):
        token_ids[index, : lengths[index]] = torch.as_tensor(row.token_ids)
    states = decoder(input_ids=token_ids.to(device), use_cache=False).last_hidden_state
    last = torch.tensor(lengths).to(device) - 1
    scores: Tensor = whole.score(states[torch.arange(len(rows), device=device), last].float())
    return scores
