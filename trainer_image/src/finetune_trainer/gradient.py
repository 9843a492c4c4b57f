"""The gradient of a step: cut into micro-batches that fit, computed in the way that suits model and machine.

How a step is cut and computed changes memory and speed, not the result beyond rounding.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Any, Final

import torch
from torch import Tensor

from finetune_trainer.compiled import why_not_compiled
from finetune_trainer.data.plan import Step, micro_batches, shares
from finetune_trainer.execution import Execution
from finetune_trainer.gpu_errors import is_out_of_memory
from finetune_trainer.hyperparameters import Hyperparameters
from finetune_trainer.objectives.base import Task, supervised_share
from finetune_trainer.ranks import Ranks
from finetune_trainer.rehearsal import Ways, forget_peak, largest_micro_batch
from finetune_trainer.state import trainable

LOG: Final = logging.getLogger(__name__)
_STEP_BYTES: Final = 12
"""That a trained number takes from the first step on, beside itself: its gradient and AdamW's two moments."""


class Gradients:
    """Makes the gradients of a plan's steps; the model's layers are as they were when it is closed."""

    def __init__(
        self,
        *,
        model: Any,
        task: Task,
        plan: Sequence[Step],
        settings: Hyperparameters,
        packing: bool,
        ranks: Ranks,
        is_divided: bool,
        backward: Callable[[Tensor], None],
        begin: int = 0,
    ) -> None:
        """Settle how steps are computed; those before `begin` are done."""
        self._model, self._task, self._plan, self._ranks = model, task, plan, ranks
        self._begin = begin
        self._settings, self._packing, self._is_divided, self._backward = settings, packing, is_divided, backward
        self._device = next(model.parameters()).device
        self.micro_batch = settings.micro_batch
        """Tokens that go through the model at once, padding included."""
        self.cut_to: int | None = None
        """The same, where memory did not suffice and it has not been told yet."""
        self.predicted: int | None = None
        """Bytes that training will take of the GPU, where they were measured."""
        forget_peak()
        self._ways = Ways(model, compiled=self._compiles())
        if not is_divided and (self._ways.compiled or self._device.type == "cuda"):
            self._rehearse()

    def close(self) -> None:
        """Leave the model's layers as they were."""
        self._ways.close()

    def execution(self) -> Execution:
        """How steps are computed now."""
        return Execution(
            world_size=self._ranks.count,
            packing=self._packing,
            micro_batch_tokens=self.micro_batch,
            compiled=self._ways.compiled,
            recomputed=self._ways.recomputed,
        )

    def summary(self) -> str:
        """The same for people."""
        return self.execution().summary(self.predicted)

    def of(self, number: int, weight: float) -> Tensor:
        """Gradients of this rank's share of step `number`, and its part of the mean loss, still on the device.

        While memory does not suffice micro-batches get ever smaller, and where not even one row fits activations are
        computed again, by every rank for itself. The step stays the same, its rows and its tokens; nothing is exchanged
        between ranks before its end. Where layers are divided all would have to split at once, so that it is left to
        the next attempt.
        """
        step = self._plan[number]
        longest = max((self._task.lengths[index] for index in self._share(step)), default=0)
        while not self._is_divided:
            try:
                return self._of(step, number, weight)
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
            # Only here is the error gone, and with it what its frames hold.
            self._forget()
            if self._device.type == "cuda":
                torch.cuda.empty_cache()
            if self.micro_batch > longest:
                self._cut(max(self.micro_batch // 2, longest))
            elif not self._ways.recompute():
                break
        return self._of(step, number, weight)

    def _share(self, step: Step) -> Step:
        return shares(step, self._task.lengths, self._ranks.count)[self._ranks.index]

    def _of(self, step: Step, number: int, weight: float) -> Tensor:
        self._model.train()
        torch.manual_seed((self._settings.seed << 32) + (self._ranks.index << 22) + number)
        total = torch.zeros((), device=self._device)
        parts = shares(step, self._task.lengths, self._ranks.count)
        cut = [micro_batches(part, self._task.lengths, self.micro_batch, packing=self._packing) for part in parts]
        mine = cut[self._ranks.index]
        for indices in mine:
            loss = self._loss(indices) / weight
            self._backward(loss)
            total += loss.detach()
        if self._is_divided:
            # Layers are gathered and gradients summed by all ranks at once, whenever one of them computes.
            for _ in range(max(map(len, cut)) - len(mine)):
                self._backward(0 * self._loss(step[:1]))
        return total

    def _loss(self, indices: Sequence[int]) -> Tensor:
        return self._task.losses(self._model, indices, packing=self._packing).sum()

    def _compiles(self) -> bool:
        lengths, left = self._task.lengths, self._plan[self._begin :]
        tokens = sum(lengths[row] for step in left for row in step) / self._ranks.count
        wanted, divided, supervised = self._settings.compile, self._is_divided, supervised_share(self._task)
        reason = why_not_compiled(wanted, self._model, lengths, supervised, tokens, is_divided=divided)
        LOG.info("layers are %s", f"not compiled: {reason}" if reason else "compiled, which takes a minute or two")
        return not reason

    def _rehearse(self) -> None:
        """Find out what fits before the first step, beside what will be held from then on."""
        lengths, packing = self._task.lengths, self._packing
        trained = sum(parameter.numel() for _, parameter in trainable(self._model))
        mine = [share for step in self._plan if (share := self._share(step))]
        if not mine:  # more processes than rows in a step
            return

        def passes(budget: int) -> None:
            self._model.train()
            held = torch.empty(_STEP_BYTES * trained, dtype=torch.uint8, device=self._device)
            try:
                self._backward(self._loss(largest_micro_batch(mine, lengths, budget, packing=packing)))
            finally:
                del held
                self._forget()

        longest = max(lengths[row] for share in mine for row in share)
        fitting = self._ways.rehearse(passes, self.micro_batch, longest)
        if fitting < self.micro_batch:
            self._cut(fitting)
        self.predicted = self._ways.peak_bytes
        if self.predicted is not None:
            LOG.info("micro-batches of up to %d tokens, which will take %.1f GB", fitting, self.predicted / 1e9)

    def _cut(self, now: int) -> None:
        LOG.warning("memory does not suffice for micro-batches of %d tokens; going on with %d", self.micro_batch, now)
        self.micro_batch = self.cut_to = now

    def _forget(self) -> None:
        self._model.zero_grad()
