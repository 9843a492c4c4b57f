"""LoRA in one piece with its base: PEFT's numbers with fewer passes, and PEFT itself wherever that cannot be."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor, nn
from transformers import LlamaForCausalLM

from finetune_trainer.methods.fused import FusedLinear, _LowRankLinear, fuse

IN_ONE_PIECE = "_LowRankLinearBackward"


class Net(nn.Module):
    """One layer to adapt, with a bias, and another."""

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Linear(24, 40, dtype=dtype), nn.Linear(40, 8, bias=False, dtype=dtype)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.second(torch.tanh(self.first(x)))
        return result


def adapted(net: nn.Module | None = None, **config: Any) -> PeftModel:
    """A net whose adapters do something."""
    settings = {"r": 4, "lora_alpha": 8, "target_modules": ["first", "second"], **config}
    model = get_peft_model(net or Net(), LoraConfig(**settings))
    torch.manual_seed(1)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.1)
    return model.train()


def gradients(model: nn.Module, x: Tensor) -> dict[str, Tensor]:
    model.zero_grad()
    x = x.clone().requires_grad_(True)
    model(x).square().sum().backward()
    return {"x": x.grad, **{name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}}


def used(model: PeftModel, x: Tensor) -> bool:
    """Whether the net's last layer was computed in one piece."""
    function = model(x).grad_fn
    return function is not None and function.name() == IN_ONE_PIECE


@pytest.fixture
def x() -> Tensor:
    return torch.randn(3, 5, 24, generator=torch.Generator().manual_seed(2))


def test_the_gradient_is_that_of_the_formula() -> None:
    generator = torch.Generator().manual_seed(0)
    x, weight, bias, a, b = (
        torch.randn(*shape, dtype=torch.float64, generator=generator)
        for shape in ((2, 3, 5), (7, 5), (7,), (2, 5), (7, 2))
    )
    for each in (x, a, b):
        each.requires_grad_(True)
    assert torch.autograd.gradcheck(lambda x, a, b: _LowRankLinear.apply(x, weight, bias, a, b, 1.7), (x, a, b))


def test_result_and_gradients_are_those_of_peft(x: Tensor) -> None:
    plain, fused = adapted(), adapted()
    assert fuse(fused) == 2
    assert used(fused, x)
    assert not used(plain, x)
    torch.testing.assert_close(fused(x), plain(x), rtol=1e-5, atol=1e-6)
    expected = gradients(plain, x)
    found = gradients(fused, x)
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-5, atol=1e-6, msg=name)


def test_a_model_trains_as_with_peft(tiny_model: LlamaForCausalLM) -> None:
    """Every linear layer of a real architecture, a few steps."""
    ids = torch.arange(60).view(3, 20) % 300

    def losses(fused: bool) -> list[float]:
        torch.manual_seed(0)
        model = get_peft_model(LlamaForCausalLM(tiny_model.config), LoraConfig(r=4, target_modules="all-linear"))
        if fused:
            assert fuse(model) == 7 * tiny_model.config.num_hidden_layers
        optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
        told = []
        for _ in range(5):
            optimizer.zero_grad()
            loss = model(input_ids=ids, labels=ids).loss
            loss.backward()
            optimizer.step()
            told.append(loss.item())
        return told

    assert losses(True) == pytest.approx(losses(False), rel=1e-5)


def test_beside_a_base_in_bfloat16_it_is_as_near_to_the_truth_as_peft(x: Tensor) -> None:
    narrow = x.bfloat16()
    truth = adapted()
    plain, fused = adapted(Net(torch.bfloat16)), adapted(Net(torch.bfloat16))
    fuse(fused)
    assert used(fused, narrow)
    assert fused(narrow).dtype == torch.bfloat16

    def error(model: PeftModel) -> float:
        expected, found = gradients(truth, x), gradients(model, narrow)
        return max(float((found[n].float() - g).norm() / g.norm()) for n, g in expected.items())

    assert error(fused) < max(2 * error(plain), 0.02)
    assert all(p.grad.dtype == torch.float32 for p in fused.parameters() if p.requires_grad)


@contextmanager
def counted_bytes() -> Iterator[list[int]]:
    """Bytes of what backward keeps, each piece of memory once."""
    seen: dict[int, int] = {}
    total: list[int] = []

    def keep(tensor: Tensor) -> Tensor:
        seen[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        yield total
    total.append(sum(seen.values()))


def test_backward_keeps_less_than_with_peft() -> None:
    x = torch.randn(512, 24).bfloat16().requires_grad_(True)

    def kept(model: PeftModel) -> int:
        with counted_bytes() as total:
            model(x)
        return total[0]

    plain, fused = adapted(Net(torch.bfloat16)), adapted(Net(torch.bfloat16))
    fuse(fused)
    assert kept(fused) < 0.7 * kept(plain)


def _disabled(model: PeftModel, x: Tensor) -> bool:
    with model.disable_adapter():
        return used(model, x)


def _two(model: PeftModel, x: Tensor) -> bool:
    model.add_adapter("other", LoraConfig(r=2, target_modules=["second"]))
    model.base_model.set_adapter(["default", "other"])
    return used(model, x)


def _merged(model: PeftModel, x: Tensor) -> bool:
    model.merge_adapter()
    return used(model, x.requires_grad_(True))


def _measured(model: PeftModel, x: Tensor) -> bool:
    with torch.no_grad():
        return used(model, x)


@pytest.mark.parametrize("case", [_disabled, _two, _merged, _measured])
def test_peft_computes_what_is_not_plain_training(case: Callable[[PeftModel, Tensor], bool], x: Tensor) -> None:
    model = adapted()
    fuse(model)
    assert not case(model, x)


def test_dropout_is_pefts_business_while_training_alone(x: Tensor) -> None:
    model = adapted(lora_dropout=0.5)
    fuse(model)
    assert not used(model, x)
    assert used(model.eval(), x)


@pytest.mark.parametrize(
    ("config", "fused"),
    [
        ({"use_dora": True}, 0),
        ({"modules_to_save": ["first"], "target_modules": ["second"]}, 1),
        # A bias that is trained would get no gradient; the second layer has none.
        ({"bias": "all"}, 1),
    ],
)
def test_layers_of_other_kinds_are_left_alone(config: dict[str, Any], fused: int) -> None:
    model = adapted(**config)
    fuse(model)
    kinds = [type(module) for module in model.modules() if isinstance(module, FusedLinear)]
    assert len(kinds) == fused
