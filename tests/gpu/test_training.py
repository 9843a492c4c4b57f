"""Training on a GPU: compiled layers, memory that is told beforehand, and memory that does not suffice.

python -m pytest -c tests/gpu/pytest.ini tests/gpu
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch._dynamo.utils import counters
from trainer_settings import hyperparameters
from transformers import LlamaConfig, LlamaForCausalLM

from finetune_trainer.data.encode import Tokenized
from finetune_trainer.data.item import Item
from finetune_trainer.data.plan import plan_steps
from finetune_trainer.data.problems import Source
from finetune_trainer.execution import Execution
from finetune_trainer.loop import TrainingOutcome, train
from finetune_trainer.methods.attach import attach
from finetune_trainer.methods.settings import MethodSettings
from finetune_trainer.objectives.language import LanguageTask
from finetune_trainer.state import LoopState

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]
CONFIG = {
    "vocab_size": 32000, "hidden_size": 1024, "intermediate_size": 2816, "num_hidden_layers": 8,
    "num_attention_heads": 16, "num_key_value_heads": 4, "max_position_embeddings": 16384,
}  # fmt: skip
MICRO_BATCH = 16384


@dataclass(frozen=True)
class Ran:
    """A finished run."""

    losses: list[float]
    outcome: TrainingOutcome
    execution: Execution
    peak: int
    """Bytes, of all that training did."""
    states: list[LoopState]
    """After each step."""


def run(
    longest: int = 4096,
    micro_batch: int = MICRO_BATCH,
    method: str = "lora",
    state: LoopState | None = None,
    **changes: Any,
) -> Ran:
    """Two steps of packed rows of uneven lengths, or from `state` on."""
    torch.manual_seed(0)
    settings = hyperparameters(
        epochs=1.0, tokens_per_step=2 * MICRO_BATCH, micro_batch_tokens=micro_batch, max_tokens=longest, rank=16,
        learning_rate=1e-3, **changes,
    )  # fmt: skip
    with torch.device("cuda"):
        base = LlamaForCausalLM._from_config(LlamaConfig(**CONFIG), dtype=torch.bfloat16, attn_implementation="sdpa")
    model = attach(base.requires_grad_(False), MethodSettings(type=method), settings)
    generator = torch.Generator().manual_seed(0)
    lengths = [longest // (1 + row % 5) for row in range(40)]
    items = [
        Item((
            Tokenized(
                torch.randint(3, 32000, (length,), generator=generator).tolist(),
                [float(place > length // 2) for place in range(length)],
                Source("rows", row),
            ),
        ))
        for row, length in enumerate(lengths)
    ]  # fmt: skip
    plan = plan_steps(lengths, seed=0, epochs=1.0, max_steps=2, tokens_per_step=2 * MICRO_BATCH)
    losses: list[float] = []
    states: list[LoopState] = []
    outcome = train(
        model=model, task=LanguageTask(items), validation=None, settings=settings, plan=plan, state=state,
        on_log=lambda log: losses.append(log.loss), should_stop=lambda: False, on_checkpoint=states.append,
        every_steps=1,
    )  # fmt: skip
    return Ran(losses, outcome, states[-1].execution, torch.cuda.max_memory_allocated(), states)


@pytest.fixture
def memory() -> Iterator[Any]:
    """Limits what may be allocated to so many bytes."""
    total = torch.cuda.get_device_properties(0).total_memory

    def limit(size: int) -> None:
        torch.cuda.empty_cache()
        torch.cuda.set_per_process_memory_fraction(size / total)

    yield limit
    torch.cuda.set_per_process_memory_fraction(1.0)
    torch.cuda.empty_cache()


def test_compiled_layers_train_as_plain_ones_and_are_one_program() -> None:
    plain = run(compile="off")
    torch._dynamo.reset()
    counters.clear()
    compiled = run(compile="on")
    assert compiled.execution.compiled
    assert not plain.execution.compiled
    assert compiled.losses == pytest.approx(plain.losses, rel=2e-3)
    assert not counters["graph_break"]
    assert counters["stats"]["unique_graphs"] == 2, "the layers, and the loss"
    assert compiled.peak < plain.peak


@pytest.mark.parametrize(("compiling", "method"), [("off", "lora"), ("on", "lora"), ("off", "full")])
def test_the_memory_that_training_takes_is_told_before_its_first_step(compiling: str, method: str) -> None:
    ran = run(compile=compiling, method=method)
    assert ran.outcome.predicted_memory_bytes == pytest.approx(ran.peak, rel=0.1)


def test_a_resumed_run_goes_on_as_the_unbroken_one() -> None:
    """AdamW's fused kernel reads its count of steps on the device."""
    unbroken = run(compile="off")
    resumed = run(compile="off", state=unbroken.states[0])
    assert resumed.losses == pytest.approx(unbroken.losses[1:], rel=2e-3)
    last, expected = resumed.states[-1].tensors, unbroken.states[-1].tensors
    torch.testing.assert_close(last, expected, rtol=2e-2, atol=2e-4)


def test_micro_batches_are_cut_where_memory_does_not_suffice(memory: Any) -> None:
    enough = run(longest=1024, compile="off")
    memory(enough.peak * 2 // 3)
    cut = run(longest=1024, compile="off")
    assert cut.execution.micro_batch_tokens < MICRO_BATCH == enough.execution.micro_batch_tokens
    assert not cut.execution.recomputed
    assert cut.losses == pytest.approx(enough.losses, rel=2e-3)


@pytest.mark.parametrize("compiling", ["off", "on"])
def test_activations_are_computed_again_where_not_even_the_longest_row_fits(memory: Any, compiling: str) -> None:
    enough = run(longest=MICRO_BATCH, compile=compiling)
    memory(enough.peak // 2)
    again = run(longest=MICRO_BATCH, compile=compiling)
    assert again.execution.recomputed
    assert not enough.execution.recomputed
    assert again.losses == pytest.approx(enough.losses, rel=2e-3)
