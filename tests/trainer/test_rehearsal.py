"""How training fits is found out before the first step: smaller micro-batches, then activations computed again.

No CPU runs out of memory at a chosen tensor: a stand-in for the pass says what fits. `tests/gpu` has real memory.
"""

import logging
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch
from tiny_architectures import tiny
from trainer_settings import hyperparameters

from finetune_trainer.data.encode import Tokenized
from finetune_trainer.data.item import Item
from finetune_trainer.data.problems import Source
from finetune_trainer.gradient import Gradients
from finetune_trainer.methods.attach import attach
from finetune_trainer.methods.settings import MethodSettings
from finetune_trainer.objectives.language import LanguageTask
from finetune_trainer.rehearsal import Ways, largest_micro_batch

SOURCE = Source("rows.jsonl", 1)


def model():
    return attach(tiny("llama").requires_grad_(False), MethodSettings(), hyperparameters())


class Memory:
    """Room for so many tokens, four times as many where activations are computed again."""

    def __init__(self, room: int) -> None:
        self.room, self.tried = room, []
        self.ways = Ways(model(), compiled=False)

    def passes(self, budget: int) -> None:
        self.tried.append(budget)
        if budget > self.room * (4 if self.ways.recomputed else 1):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


@pytest.mark.parametrize(
    ("room", "tried", "fitting", "recomputed"),
    [
        (1000, [800], 800, False),
        (500, [800, 400], 400, False),
        (110, [800, 400, 200, 100], 100, False),
        (50, [800, 400, 200, 100, 100], 100, True),
        # What happens then is for the first step to say.
        (5, [800, 400, 200, 100, 100], 100, True),
    ],
)
def test_what_fits_is_found_by_halves_and_only_then_by_computing_again(room, tried, fitting, recomputed):
    memory = Memory(room)
    assert memory.ways.rehearse(memory.passes, 800, 100) == fitting
    assert memory.tried == tried
    assert memory.ways.recomputed == recomputed
    memory.ways.close()


class Recorder(LanguageTask):
    """Notes which rows go through the model together."""

    def __init__(self, items):
        super().__init__(items)
        self.passes = []

    def losses(self, model, indices, *, packing):
        self.passes.append(tuple(indices))
        return super().losses(model, indices, packing=packing)


@pytest.mark.parametrize(("rank", "largest"), [(0, (1,)), (1, (2, 0))])
def test_each_rank_rehearses_its_own_share_and_forgets_it(rank, largest, monkeypatch):
    monkeypatch.setattr("finetune_trainer.gradient.why_not_compiled", lambda *_, **__: "")
    monkeypatch.setattr("finetune_trainer.rehearsal.compiled_layers", nullcontext)
    rows = [Tokenized(list(range(3, 3 + length)), [False] + [True] * (length - 1), SOURCE) for length in (2, 4, 3)]
    task, whole = Recorder([Item((row,)) for row in rows]), model()
    ranks = SimpleNamespace(index=rank, count=2)
    Gradients(
        model=whole, task=task, plan=[(0, 1, 2)], settings=hyperparameters(), packing=False, ranks=ranks,
        is_divided=False, backward=torch.Tensor.backward,
    )  # fmt: skip
    assert task.passes == [largest]
    assert all(parameter.grad is None for parameter in whole.parameters())


def test_layers_that_cannot_be_compiled_are_left_plain_with_a_word(caplog):
    ways = Ways(model(), compiled=True)
    asked = []

    def passes(budget):
        asked.append(ways.compiled)
        if ways.compiled:
            raise RuntimeError("backend='inductor' raised:\nCppCompileError")

    with caplog.at_level(logging.WARNING):
        assert ways.rehearse(passes, 100, 10) == 100
    assert asked == [True, False]
    assert "layers are not compiled: RuntimeError: backend='inductor' raised:" in caplog.text


def test_a_model_whose_layers_cannot_be_told_is_left_as_it_is(caplog):
    odd = model()
    odd.config.num_hidden_layers = 7
    ways = Ways(odd, compiled=True)
    assert not ways.compiled
    assert "LlamaForCausalLM cannot be told from its other parts" in caplog.text

    def passes(_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    assert ways.rehearse(passes, 100, 100) == 100
    assert not ways.recomputed


def test_another_fault_is_not_taken_for_a_lack_of_memory():
    ways = Ways(model(), compiled=False)

    def passes(_):
        raise ValueError("something else")

    with pytest.raises(ValueError, match="something else"):
        ways.rehearse(passes, 100, 10)


@pytest.mark.parametrize(("packing", "expected"), [(True, (0, 1, 4)), (False, (0, 1))])
def test_the_largest_micro_batch_is_what_takes_the_most_space(packing, expected):
    """Packed rows take their own tokens, padded ones those of the longest of them."""
    lengths = [30, 20, 50, 10, 9]
    assert largest_micro_batch([(2,), (0, 1, 4), (3,)], lengths, 60, packing=packing) == expected
