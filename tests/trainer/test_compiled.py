"""Compiled and recomputed layers train as plain ones, really are what is computed, and are gone afterwards.

Everything is compiled for the CPU here. `tests/gpu` has the same on a GPU, where packed attention is part of it.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tiny_architectures import tiny
from torch import Tensor
from torch._dynamo.utils import counters
from trainer_settings import hyperparameters

from finetune_trainer import compiled
from finetune_trainer.compiled import compiled_layers, recomputed_layers, why_not_compiled
from finetune_trainer.data.encode import Tokenized
from finetune_trainer.loss import _losses_and_slope, collate, row_losses
from finetune_trainer.methods.attach import attach
from finetune_trainer.methods.settings import MethodSettings
from finetune_trainer.packing import enable_packing
from finetune_trainer.state import trainable

CPU = torch.device("cpu")
Rows = Sequence[Tokenized]
Result = tuple[Tensor, dict[str, Tensor]]


def with_adapter(name: str, **settings: Any) -> Any:
    """LoRA that changes something: its B is zero at the start, which would hide errors in A's gradient."""
    model = attach(tiny(name).requires_grad_(False), MethodSettings(**settings), hyperparameters())
    torch.manual_seed(1)
    for parameter_name, parameter in trainable(model):
        if "lora_B" in parameter_name:
            torch.nn.init.normal_(parameter, std=0.1)
    assert enable_packing(model, 24)
    return model.train()


def losses_and_gradients(model: Any, rows: Rows) -> Result:
    model.zero_grad()
    losses = row_losses(model, collate(rows, CPU, packing=True))
    losses.sum().backward()
    return losses.detach(), {name: parameter.grad.clone() for name, parameter in trainable(model)}


def assert_same(found: Sequence[Result], expected: Sequence[Result]) -> None:
    for (losses, gradients), (wanted, slopes) in zip(found, expected, strict=True):
        torch.testing.assert_close(losses, wanted, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(gradients, slopes, rtol=1e-4, atol=1e-5)


@pytest.fixture
def batches(make_rows: Callable[[int], Rows]) -> list[Rows]:
    """Of other numbers of tokens, which must not be compiled for one by one."""
    return [make_rows(3), make_rows(6), make_rows(4)]


def test_compiled_layers_train_as_plain_ones_and_are_compiled_once(batches: list[Rows]) -> None:
    model = with_adapter("qwen2")  # has biases in the layers that are joined
    expected = [losses_and_gradients(model, rows) for rows in batches]
    torch._dynamo.reset()
    counters.clear()
    with compiled_layers(model):
        found = [losses_and_gradients(model, rows) for rows in batches[:1]]
        programs = counters["stats"]["unique_graphs"]
        found += [losses_and_gradients(model, rows) for rows in batches[1:]]
        assert counters["stats"]["unique_graphs"] == programs > 1
    assert_same(found, expected)


def test_recomputed_layers_train_as_plain_ones_and_keep_less(batches: list[Rows]) -> None:
    model = with_adapter("llama")
    kept: list[int] = []

    def count(tensor: Tensor) -> Tensor:
        kept.append(tensor.numel())
        return tensor

    def trained() -> list[Result]:
        kept.clear()
        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            return [losses_and_gradients(model, rows) for rows in batches]

    expected = trained()
    plain = sum(kept)
    with recomputed_layers(model):
        found = trained()
    assert sum(kept) < plain / 4
    assert_same(found, expected)


@pytest.mark.parametrize("ways", [compiled_layers, recomputed_layers])
def test_what_is_measured_and_saved_is_the_plain_model(
    ways: Callable[[Any], AbstractContextManager[None]], batches: list[Rows]
) -> None:
    model = with_adapter("llama")
    batch = collate(batches[0], CPU, packing=True)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with torch.no_grad():
        expected = row_losses(model, batch)
    counters.clear()
    with ways(model):
        with torch.no_grad():
            assert torch.equal(row_losses(model, batch), expected)
        assert list(model.state_dict()) == list(before)
        assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert not counters["frames"]
    assert not any("forward" in vars(layer) for layer in model.modules())
    pointers = [tensor.untyped_storage().data_ptr() for tensor in model.state_dict().values()]
    assert len(set(pointers)) >= len(pointers) - 1, "each has memory of its own, but for tied embeddings"


def test_a_loss_is_computed_by_compiled_arithmetic_only_where_layers_are() -> None:
    generator = torch.Generator().manual_seed(0)
    logits, targets = torch.randn(5, 11, generator=generator), torch.tensor([3, 0, 10, 3, 7])
    expected = _losses_and_slope(logits.clone(), targets)
    counters.clear()
    with compiled_layers(with_adapter("llama")):
        found = _losses_and_slope(logits.clone(), targets)
    assert counters["stats"]["unique_graphs"] == 1
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("wanted", "changes", "reason"),
    [
        ("on", {}, ""),
        ("off", {}, "training.compile is off"),
        ("auto", {}, "on a CPU it does not pay"),
        ("on", {"is_divided": True}, "processes hold a part of every layer each"),
    ],
)
def test_layers_are_compiled_where_that_is_wanted_and_possible(
    wanted: Any, changes: dict[str, bool], reason: str
) -> None:
    model = with_adapter("llama")
    assert why_not_compiled(wanted, model, [10], 0.5, 10**9, **{"is_divided": False, **changes}) == reason


@pytest.mark.parametrize(
    ("tokens", "experts", "reason"),
    [
        (1e13, False, ""),
        (1e6, False, "what is left of the run is too short for it to pay"),
        (1e13, True, "the operations of a model with experts cannot be counted; training.compile on compiles it"),
    ],
)
def test_by_itself_a_gpu_s_layers_are_compiled_where_much_is_left_to_do(
    tokens: float, experts: bool, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiled, "_missing", lambda _device: "")
    model = with_adapter("llama")
    if experts:
        model.experts = torch.nn.ParameterList([torch.zeros(4, 8, 8)])
    on_gpu = OnGpu(model)
    assert why_not_compiled("auto", on_gpu, [10], 0.5, tokens, is_divided=False) == reason


class OnGpu:
    """A model that says so."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def parameters(self) -> Any:
        return (SimpleNamespace(device=torch.device("cuda"), dim=each.dim) for each in self._model.parameters())


def test_without_a_compiler_nothing_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled.shutil, "which", lambda _: None)
    model = with_adapter("llama")
    assert why_not_compiled("on", model, [10], 0.5, 10**9, is_divided=False) == "there is no C++ compiler"
