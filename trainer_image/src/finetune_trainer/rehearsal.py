"""The largest micro-batch goes through the model before the first step, and is forgotten.

So a run that does not fit is known to in its first seconds and not where the longest rows happen to come, and what
memory suffices for is chosen once: first smaller micro-batches, then activations that are computed again. It is also
where compiled layers show whether they work for this model on this machine.
"""

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import Any, Final

import torch

from finetune_trainer.compiled import compiled_layers, recomputed_layers
from finetune_trainer.data.plan import Step, micro_batches
from finetune_trainer.errors import SettingsError, TrainerError
from finetune_trainer.gpu_errors import is_out_of_memory

LOG: Final = logging.getLogger(__name__)


class Ways:
    """How a model's layers are computed while it is trained; closed, it is as before."""

    def __init__(self, model: Any, *, compiled: bool) -> None:
        self._model = model
        self.compiled, self.recomputed = False, False
        self.peak_bytes: int | None = None
        """The most memory that the rehearsal took; None where none was held, or not on a GPU."""
        self._stack = ExitStack()
        self._set(compiled=compiled, recomputed=False)

    def rehearse(self, passes: Callable[[int], None], budget: int, least: int) -> int:
        """Find out how training fits: take `passes(tokens)`, with ever smaller micro-batches, from `budget` tokens on.

        Args:
            passes: Takes the largest micro-batch within so many tokens forward and backward.
            budget: Tokens of a micro-batch.
            least: Of the longest item, below which no micro-batch can be.

        Returns:
            The tokens that fit.

        """
        while True:
            try:
                forget_peak()
                passes(budget)
            except TrainerError:
                raise
            except Exception as error:
                if not is_out_of_memory(error):
                    if not self.compiled:
                        raise
                    LOG.warning("layers are not compiled: %s: %s", type(error).__name__, str(error).partition("\n")[0])
                    self._set(compiled=False, recomputed=self.recomputed)
                    continue
            else:
                self.peak_bytes = _peak()
                return budget
            # Only here is the error gone, and with it what its frames hold.
            if budget > least:
                budget = max(budget // 2, least)
            elif not self.recompute():
                return budget

    def recompute(self) -> bool:
        """Let activations be computed again from now on; False where they are already, or cannot be."""
        if self.recomputed:
            return False
        LOG.warning("memory does not suffice for the longest row: activations are computed again, which takes time")
        self._set(compiled=self.compiled, recomputed=True)
        return self.recomputed

    def close(self) -> None:
        """Leave the model as it was."""
        self._stack.close()

    def _set(self, *, compiled: bool, recomputed: bool) -> None:
        self._stack.close()
        self.compiled = compiled and self._enter(compiled_layers)
        self.recomputed = recomputed and self._enter(recomputed_layers)

    def _enter(self, way: Callable[[Any], AbstractContextManager[None]]) -> bool:
        try:
            self._stack.enter_context(way(self._model))
        except SettingsError as error:
            # It was not asked for by name: the layers of some models cannot be told from their other parts.
            LOG.warning("layers are computed as they are: %s", error.message)
            return False
        return True


def largest_micro_batch(plan: Sequence[Step], lengths: Sequence[int], budget: int, *, packing: bool) -> Step:
    """The rows of all micro-batches of a run that take the most space together."""
    cut = (rows for step in set(plan) for rows in micro_batches(step, lengths, budget, packing=packing))
    return max(cut, key=lambda rows: sum(lengths[row] for row in rows) if packing else lengths[rows[0]] * len(rows))


def forget_peak() -> None:
    """Measure the most memory that a GPU holds from now on."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def _peak() -> int | None:
    return torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None
