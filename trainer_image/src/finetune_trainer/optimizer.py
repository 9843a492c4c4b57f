"""The optimiser, and the gradients' common norm, of a model that may be divided among processes (`sharding`)."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.tensor import DTensor

from finetune_trainer.hyperparameters import Hyperparameters
from finetune_trainer.state import trainable


def make_optimizer(model: torch.nn.Module, settings: Hyperparameters) -> torch.optim.Optimizer:
    """AdamW over what the model trains."""
    parameters: list[Any] = [parameter for _, parameter in trainable(model)]
    # Whole and divided ones cannot be computed with by one call.
    kinds = [[each for each in parameters if isinstance(each, DTensor) == divided] for divided in (False, True)]
    groups = [{"params": kind} for kind in kinds if kind]
    # One pass over all weights instead of several; on a CPU it would only give other roundings.
    fused = all(each.device.type == "cuda" and not isinstance(each, DTensor) for each in parameters)
    return torch.optim.AdamW(groups, lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=fused or None)


def clip_gradients(parameters: Sequence[Tensor], longest: float) -> Tensor:
    """Scale all gradients so that their common norm is at most `longest`; the norm before, on the device."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if not any(isinstance(gradient, DTensor) for gradient in gradients):
        return torch.nn.utils.clip_grad_norm_(parameters, longest)
    squares = [torch.zeros((), device=parameters[0].device) for _ in range(2)]
    for gradient in gradients:
        squares[isinstance(gradient, DTensor)] += _local(gradient).float().square().sum()
    dist.all_reduce(squares[True])
    norm = (squares[False] + squares[True]).sqrt()
    scale = (longest / (norm + 1e-6)).clamp(max=1.0)
    for gradient in gradients:
        _local(gradient).mul_(scale)
    return norm


def _local(tensor: Tensor) -> Tensor:
    found: Tensor = tensor.to_local() if isinstance(tensor, DTensor) else tensor
    return found
