"""How training fits is found out before the first step: smaller micro-batches, then activations computed again.

No CPU runs out of memory at a chosen tensor: a stand-in for the pass says what fits. `tests/gpu` has real memory.
"""

import logging

import pytest
import torch
from tiny_architectures import tiny
from trainer_settings import hyperparameters

from finetune_trainer.methods.attach import attach
from finetune_trainer.methods.settings import MethodSettings
from finetune_trainer.rehearsal import Ways, largest_micro_batch


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
