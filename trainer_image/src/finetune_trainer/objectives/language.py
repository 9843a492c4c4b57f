"""Language modelling: `sft`, `continued-pretraining` and generative classification differ in their rows alone."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from finetune_trainer.data.encode import Tokenized
from finetune_trainer.loss import collate, row_losses


class LanguageTask:
    """Cross-entropy on the supervised tokens of each row."""

    def __init__(self, rows: Sequence[Tokenized]) -> None:
        self._rows = rows
        self.lengths = [len(row.token_ids) for row in rows]

    def weight(self, index: int) -> float:
        """Summed weights of a row's supervised tokens."""
        return self._rows[index].target_weight

    def losses(self, model: Any, indices: Sequence[int], *, packing: bool) -> Tensor:  # noqa: ARG002  packing is to come
        """Summed loss of each row, float32 [rows]."""
        device = next(model.parameters()).device
        return row_losses(model, collate([self._rows[index] for index in indices], device))
