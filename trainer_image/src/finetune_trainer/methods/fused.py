"""LoRA without passes over memory that its arithmetic does not need.

PEFT computes base(x) + scale * B(A(x)) one operation after the other: beside a base in bfloat16, x is copied to float32
and both small products run there; then the result is scaled, added and converted, each a pass over a tensor as large as
the layer's output, and backward passes over it as often. Here the small factors are brought to the base's format and
the second product is added to the base's result as it is computed; so is the gradient. What backward needs is x, which
is kept once, and A(x), which is small. The same mathematics, other rounding.

(Technique: Hu et al., "LoRA", arXiv:2106.09685, section 4.1, for the arithmetic; Unsloth and fms-acceleration have
kernels to the same end, for CUDA alone.)
"""

import logging
from typing import Any, Final, Protocol

import torch
from peft.tuners import lora
from torch import Tensor, nn
from torch.nn import functional

LOG: Final = logging.getLogger(__name__)


def fuse(model: nn.Module) -> int:
    """Let the model's LoRA layers train without needless passes, where they are plain ones; how many these are."""
    suitable = [module for module in model.modules() if type(module) is lora.Linear and _is_plain(module)]
    for module in suitable:
        module.__class__ = FusedLinear
        module.group = None  # type: ignore[assignment]  # a plain attribute, which torch does not expect
    LOG.info("%d low-rank layers are computed in one piece with their base", len(suitable))
    return len(suitable)


def _is_plain(module: lora.Linear) -> bool:
    base = module.base_layer
    is_frozen = not any(each.requires_grad for each in base.parameters())
    return type(base) is nn.Linear and is_frozen and not module.lora_variant


class Joined(Protocol):
    """Several layers that are computed together: `methods.joined`."""

    def low_rank_linear(self, x: Tensor, layer: "FusedLinear", name: str) -> Tensor | None:
        """The layer's own [..., out] for x [..., in], with the adapter `name`; None where it must be computed alone."""


class FusedLinear(lora.Linear):  # type: ignore[misc]  # peft has no types
    """A LoRA layer as PEFT makes it, that trains faster; what is measured and used is computed by PEFT as before."""

    group: Joined | None
    """Where layers are joined, the one that this layer is of."""

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """[..., in] to [..., out]."""
        name = self._in_one_piece(x)
        if name is None or args or kwargs:
            plain: Tensor = super().forward(x, *args, **kwargs)
            return plain
        together = None if self.group is None else self.group.low_rank_linear(x, self, name)
        if together is not None:
            return together
        base, a = self.base_layer, self.lora_A[name].weight
        if torch.compiler.is_compiling():
            # A compiler sees the passes itself, and joins the sum with what comes before and after it.
            low = functional.linear(x, a.to(x.dtype))
            return functional.linear(x, base.weight, base.bias) + self.widened(low, name)
        b, scale = self.lora_B[name].weight, self.scaling[name]
        fused: Tensor = _LowRankLinear.apply(x, base.weight, base.bias, a, b, scale)
        return fused

    def widened(self, low: Tensor, name: str) -> Tensor:
        """What the adapter `name` adds to the layer's output, [..., out], of A(x), [..., r]."""
        return functional.linear(low, (self.lora_B[name].weight * self.scaling[name]).to(low.dtype))

    def _in_one_piece(self, x: Tensor) -> str | None:
        """The adapter to train in one piece with the base; None where that cannot be done."""
        active = [name for name in self.active_adapters if name in self.lora_A]
        if not torch.is_grad_enabled() or self.disable_adapters or self.merged or len(active) != 1:
            return None
        drops = self.training and not isinstance(self.lora_dropout[active[0]], nn.Identity)
        return None if drops or x.dtype != self.base_layer.weight.dtype else active[0]


class _LowRankLinear(torch.autograd.Function):
    """x W^T + bias + scale * (x A^T) B^T for x [..., in], W [out, in], A [r, in] and B [out, r]; W is frozen."""

    @staticmethod
    def forward(  # noqa: PLR0917  torch passes them by position
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scale: float
    ) -> Tensor:
        rows = x.flatten(0, -2)
        narrow_a, narrow_b = a.to(x.dtype), (b * scale).to(x.dtype)
        low = rows @ narrow_a.T
        result = functional.linear(rows, weight, bias).addmm_(low, narrow_b.T)
        ctx.save_for_backward(rows, weight, low, narrow_a, narrow_b)
        ctx.scale, ctx.formats = scale, (a.dtype, b.dtype)
        return result.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, None, None, Tensor, Tensor, None]:
        rows, weight, low, a, b = ctx.saved_tensors
        slope = grad_outputs[0].flatten(0, -2)
        low_slope = slope @ b  # scaled as b is
        to_a = (low_slope.T @ rows).to(ctx.formats[0])
        to_b = (slope.T @ low).to(ctx.formats[1]).mul_(ctx.scale)
        if not ctx.needs_input_grad[0]:
            return None, None, None, to_a, to_b, None
        to_x = (slope @ weight).addmm_(low_slope, a)
        return to_x.view(*grad_outputs[0].shape[:-1], -1), None, None, to_a, to_b, None
