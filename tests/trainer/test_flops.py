"""What a token needs, counted again by torch, and what a GPU is rated at."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch.utils.flop_counter import FlopCounterMode
from transformers import LlamaConfig, LlamaForCausalLM

from finetune_trainer.flops import most_tokens_per_second, operations_per_token, rated
from finetune_trainer.methods.layers import train_last_layers

WIDTH, INNER, LAYERS, WORDS, TOKENS = 64, 128, 3, 512, 32


@pytest.fixture
def base() -> LlamaForCausalLM:
    config = LlamaConfig(
        hidden_size=WIDTH,
        intermediate_size=INNER,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        num_key_value_heads=4,
        vocab_size=WORDS,
    )
    return LlamaForCausalLM(config)


def counted(model: torch.nn.Module) -> float:
    """Operations of matrix products of a step, forward and backward, for a token."""
    ids = torch.randint(0, WORDS, (1, TOKENS))
    with FlopCounterMode(display=False) as counter:
        model(input_ids=ids, labels=ids).loss.backward()
    totals = counter.get_flop_counts()["Global"]
    products = sum(count for operation, count in totals.items() if "attention" not in str(operation))
    return products / TOKENS


def without_attention(model: torch.nn.Module) -> float:
    operations = operations_per_token(model, [TOKENS], 1.0)
    assert operations is not None
    return operations - 7 * TOKENS * WIDTH * LAYERS


def test_a_full_step_needs_what_torch_counts(base: LlamaForCausalLM) -> None:
    # The embedding is trained too: every product is made three times.
    assert without_attention(base) == pytest.approx(counted(base), rel=0.02)


def test_a_step_of_lora_needs_what_torch_counts(base: LlamaForCausalLM) -> None:
    model = get_peft_model(base, LoraConfig(r=8, target_modules="all-linear"))
    # Of the first layer's frozen weights no gradient reaches below: three matrices of one layer out of three.
    assert without_attention(model) == pytest.approx(counted(model), rel=0.1)


def test_a_step_of_the_last_layers_needs_what_torch_counts(base: LlamaForCausalLM) -> None:
    train_last_layers(base, 1, [])
    found = operations_per_token(base, [TOKENS], 1.0)
    assert found is not None
    # Of attention, too, only the forward pass of the layers below.
    attention = (2 * (LAYERS - 1) + 7) * TOKENS * WIDTH
    # The gradient towards the layer below is counted and not made: three matrices.
    assert found - attention == pytest.approx(counted(base), rel=0.1)


def test_supervised_tokens_alone_go_through_the_head(base: LlamaForCausalLM) -> None:
    whole, half = (operations_per_token(base, [TOKENS], share) for share in (1.0, 0.5))
    assert whole - half == 0.5 * 6 * WIDTH * WORDS


def test_attention_grows_with_the_length_that_a_token_sees(base: LlamaForCausalLM) -> None:
    short, mixed = operations_per_token(base, [10, 10], 1.0), operations_per_token(base, [5, 15], 1.0)
    assert mixed - short == 7 * (12.5 - 10) * WIDTH * LAYERS


def test_experts_cannot_be_counted(base: LlamaForCausalLM) -> None:
    base.model.experts = torch.nn.ParameterList([torch.zeros(4, 8, 8)])
    assert operations_per_token(base, [TOKENS], 1.0) is None


@pytest.mark.parametrize(
    ("name", "rate"),
    [
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA H100 NVL", 835e12),
        ("NVIDIA H200", 989e12),
        ("NVIDIA A100-SXM4-80GB", 312e12),
        ("NVIDIA A10", 125e12),
        ("NVIDIA L40S", 362e12),
        ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", None),
        ("Tesla V100-SXM2-16GB", None),
    ],
)
def test_a_gpu_is_known_by_the_name_that_its_driver_gives(name: str, rate: float | None) -> None:
    assert rated(name) == rate


def test_without_a_known_gpu_there_is_no_mfu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert most_tokens_per_second(1e9, 1) is None


def test_gpus_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA H200")
    assert most_tokens_per_second(989e6, 8) == 8e6
    assert most_tokens_per_second(None, 8) is None
