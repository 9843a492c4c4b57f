"""Low-rank layers that read the same states, their matrices joined: one product where there were three, or two.

Queries, keys and values, and the two halves of a gate, start from the same states. With their frozen matrices in one
tensor, and their A in another, the states are read once, the gradient towards them is one product that needs no adding
up, and small key and value matrices no longer make small, slow products.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from finetune_trainer.methods.fused import FusedLinear

_SAME_INPUT: Final = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))
"""Names by which transformers calls layers of one module that are given the same states, in the order of the calls.
Were they not, each would be computed alone."""


class Group:
    """Layers with the same input: the first that is called computes for all, the others take what is theirs."""

    def __init__(self, layers: Sequence[FusedLinear]) -> None:
        self.layers = layers
        linear = [layer.base_layer for layer in layers]
        self.sizes = [each.out_features for each in linear]
        # A parameter, since compilers take the sizes of parameters for constants.
        self.weight = nn.Parameter(torch.cat([each.weight.data for each in linear]), requires_grad=False)
        self.bias = None if linear[0].bias is None else torch.cat([each.bias.data for each in linear])
        for each, rows in zip(linear, torch.split(self.weight.data, self.sizes), strict=True):
            each.weight.data = rows
        for layer in layers:
            layer.group = self
        self._of: Tensor | None = None
        self._waiting: list[Tensor] = []

    def low_rank_linear(self, x: Tensor, layer: FusedLinear, name: str) -> Tensor | None:
        """The layer's own [..., out] for x [..., in], with the adapter `name`; None where it must be computed alone."""
        if layer is self.layers[0]:
            self._of, self._waiting = x, self._compute(x, name)
        elif x is not self._of or len(self._waiting) + self.layers.index(layer) != len(self.layers):
            return None
        found = self._waiting.pop(0)
        if not self._waiting:
            self._of = None
        return found

    def separate(self) -> None:
        """Give each layer a matrix of its own again."""
        for layer in self.layers:
            layer.group = None
            layer.base_layer.weight.data = layer.base_layer.weight.data.clone()

    def _compute(self, x: Tensor, name: str) -> list[Tensor]:
        factors = [layer.lora_A[name].weight for layer in self.layers]
        # An adapter that training goes on from may have another rank in each layer.
        ranks = [len(each) for each in factors]
        low = torch.split(functional.linear(x, torch.cat(factors).to(x.dtype)), ranks, dim=-1)
        base = torch.split(functional.linear(x, self.weight, self.bias), self.sizes, dim=-1)
        return [part + layer.widened(own, name) for part, own, layer in zip(base, low, self.layers, strict=True)]


@contextmanager
def joined_layers(model: nn.Module) -> Iterator[None]:
    """Within, layers with the same input hold their matrices in one tensor and are computed together."""
    groups = [Group(layers) for layers in _groups(model)]
    try:
        yield
    finally:
        # One after the other is let go of: memory may be what there is none of.
        while groups:
            groups.pop().separate()


def _groups(model: nn.Module) -> Iterator[list[FusedLinear]]:
    for module in model.modules():
        children = dict(module.named_children())
        for names in _SAME_INPUT:
            layers = [children[name] for name in names if name in children]
            found = [layer for layer in layers if isinstance(layer, FusedLinear)]
            if len(found) == len(names) and len({layer.base_layer.bias is None for layer in found}) == 1:
                yield found
