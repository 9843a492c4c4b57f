"""Memory that does not suffice: micro-batches are split at constant tokens per step, and that is told.

No CPU runs out of memory at a chosen tensor, so that a task stands in which refuses what is too large.
"""

import pytest
import torch
from trainer_settings import hyperparameters
from transformers import LlamaForCausalLM

from finetune_trainer.data.item import Item
from finetune_trainer.data.plan import plan_steps
from finetune_trainer.failures import as_trainer_error
from finetune_trainer.loop import train
from finetune_trainer.methods.attach import attach
from finetune_trainer.methods.settings import MethodSettings
from finetune_trainer.objectives.language import LanguageTask
from finetune_trainer.state import trainable


class SmallMemory(LanguageTask):
    """As much memory as `room` tokens need at once, in the backward pass included."""

    def __init__(self, items, room):
        super().__init__(items)
        self.room, self.refused = room, 0

    def losses(self, model, indices, *, packing):
        losses = super().losses(model, indices, packing=packing)
        if max(self.lengths[index] for index in indices) * len(indices) > self.room:
            self.refused += 1
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return losses


class Run:
    def __init__(self, tiny_config, rows, task, **changed):
        torch.manual_seed(0)
        settings = hyperparameters(packing="off", **changed)
        base = LlamaForCausalLM(tiny_config).requires_grad_(False)
        self.model = attach(base, MethodSettings(dropout=0.1), settings)
        self.logs, self.states = [], []
        plan = plan_steps(
            [len(row.token_ids) for row in rows], seed=settings.seed, epochs=settings.epochs,
            max_steps=settings.max_steps, tokens_per_step=settings.tokens_per_step,
        )  # fmt: skip
        self.start = lambda: train(
            model=self.model, task=task, validation=None, settings=settings, plan=plan, state=None,
            on_log=self.logs.append, should_stop=lambda: False, on_checkpoint=self.states.append, every_steps=None,
        )  # fmt: skip

    def adapter(self):
        return {name: parameter.detach().clone() for name, parameter in trainable(self.model)}


def items(rows):
    return [Item((row,)) for row in rows]


def test_a_split_run_is_the_run_that_began_with_the_smaller_micro_batch_bit_for_bit(tiny_config, make_rows):
    rows = make_rows(20)
    longest = max(len(row.token_ids) for row in rows)
    small = SmallMemory(items(rows), room=longest)
    split = Run(tiny_config, rows, small, tokens_per_step=4 * longest)
    split.start()
    assert small.refused
    told = [log.micro_batch_tokens for log in split.logs if log.micro_batch_tokens is not None]
    kept = split.states[-1].execution.micro_batch_tokens
    assert told[-1] == kept < 4 * longest
    assert "micro_batch_tokens" in split.logs[0].record()
    steps = Run(tiny_config, rows, LanguageTask(items(rows)), tokens_per_step=4 * longest, micro_batch_tokens=kept)
    steps.start()
    assert [log.loss for log in split.logs] == [log.loss for log in steps.logs]
    assert all(torch.equal(tensor, steps.adapter()[name]) for name, tensor in split.adapter().items())


def test_a_row_that_does_not_fit_alone_ends_the_run_with_advice(tiny_config, make_rows):
    rows = make_rows(12)
    run = Run(tiny_config, rows, SmallMemory(items(rows), room=3))
    with pytest.raises(torch.OutOfMemoryError) as caught:
        run.start()
    assert "Lower training.microBatchTokens" in as_trainer_error(caught.value).advice
    assert run.states == []


def test_another_error_is_no_lack_of_memory(tiny_config, make_rows):
    class Broken(LanguageTask):
        def losses(self, model, indices, *, packing):
            raise RuntimeError("CUDA error: an illegal memory access was encountered")

    rows = make_rows(12)
    with pytest.raises(RuntimeError, match="illegal memory access"):
        Run(tiny_config, rows, Broken(items(rows))).start()
