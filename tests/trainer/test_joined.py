"""Layers with the same input are computed together, with the same numbers; others are computed alone."""

import weakref
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn

from finetune_trainer.methods.fused import fuse
from finetune_trainer.methods.joined import Group, joined_layers


class Attention(nn.Module):
    """Three layers that may or may not be given the same states."""

    def __init__(self, *, bias: bool, same: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.q_proj, self.k_proj, self.v_proj = (nn.Linear(12, out, bias=bias) for out in (8, 4, 4))
        self.same = same

    def forward(self, x: Tensor) -> Tensor:
        others = x if self.same else x + 1
        return torch.cat([self.q_proj(x), self.k_proj(others), self.v_proj(others)], dim=-1)


def adapted(ranks: dict[str, int] | None = None, **kind: bool) -> Any:
    names = ["q_proj", "k_proj", "v_proj"]
    model = get_peft_model(Attention(**kind), LoraConfig(r=4, target_modules=names, rank_pattern=ranks or {}))
    torch.manual_seed(1)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.1)
    fuse(model)
    return model.train()


def result(model: Any, x: Tensor) -> dict[str, Tensor]:
    model.zero_grad()
    x = x.clone().requires_grad_(True)
    found = model(x)
    found.square().sum().backward()
    return {"y": found.detach(), "x": x.grad} | {
        name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.grad is not None
    }


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("same", [True, False])
@pytest.mark.parametrize("ranks", [{}, {"k_proj": 2, "v_proj": 6}])
def test_results_and_gradients_are_those_of_each_alone(bias: bool, same: bool, ranks: dict[str, int]) -> None:
    model = adapted(ranks, bias=bias, same=same)
    x = torch.randn(2, 5, 12, generator=torch.Generator().manual_seed(2))
    expected = result(model, x)
    with joined_layers(model):
        for _ in range(2):
            torch.testing.assert_close(result(model, x), expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(result(model, x), expected, rtol=0, atol=0)


def test_joined_matrices_are_let_go_of_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """All at once they would need a second copy of the model, where memory has just run out."""
    model = nn.Sequential(*(adapted(bias=True, same=True) for _ in range(3)))
    joined: list[weakref.ref[Tensor]] = []
    left: list[int] = []
    separate = Group.separate

    def noted(group: Group) -> None:
        left.append(sum(weight() is not None for weight in joined))
        separate(group)

    monkeypatch.setattr(Group, "separate", noted)
    with joined_layers(model):
        joined += [weakref.ref(part.base_model.model.q_proj.group.weight) for part in model]
    assert left == [3, 2, 1]


def test_the_states_go_through_one_product_and_a_small_one() -> None:
    model = adapted(bias=False, same=True)
    x = torch.randn(5, 12)
    wide: list[tuple[int, ...]] = []

    class Products(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if func in (torch.ops.aten.mm.default, torch.ops.aten.addmm.default):
                wide.append(tuple(args[-1].shape))
            return func(*args, **(kwargs or {}))

    with joined_layers(model), Products():
        model(x)
    assert [shape for shape in wide if shape[0] == 12] == [(12, 12), (12, 16)]
