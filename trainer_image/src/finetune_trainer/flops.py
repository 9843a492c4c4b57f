"""What training needs of a GPU, and what GPUs are rated at: the two sides of MFU, model FLOPs utilisation.

Operations that a token needs: for each weight of a linear layer 2 in the forward pass, 2 in the backward pass where a
gradient passes through it, and 2 more where it is trained; for the head the same, on supervised tokens alone; for
attention 7 x S x width a layer, of which 2 are the forward pass's, where S is the mean length of documents as a token
sees it, sum(s^2) / sum(s).
Recomputed activations are not counted: they are no work on the model.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import takewhile
from typing import Any, Final

import torch
from torch import nn

from finetune_trainer.errors import SettingsError
from finetune_trainer.methods.layers import decoder_layers

_RATED: Final[Mapping[str, float]] = {
    "A10": 125e12,
    "A100": 312e12,
    "A30": 165e12,
    "B200": 2250e12,
    "H100": 989e12,
    "H100 NVL": 835e12,
    "H100 PCIe": 756e12,
    "H200": 989e12,
    "L4": 121e12,
    "L40S": 362e12,
}
"""Dense bfloat16 operations a second, by NVIDIA's data sheets."""
_SLICE: Final = "MIG"


def operations_per_token(model: Any, lengths: Sequence[int], supervised: float) -> float | None:
    """Floating-point operations of a token of items of these lengths, a share of which is supervised.

    None where they cannot be counted: experts are no linear layers in transformers, and not all see every token.
    """
    if any(parameter.dim() > 2 for parameter in model.parameters()):
        return None
    config = model.config.get_text_config()
    head = model.get_output_embeddings()
    below = _without_backward_pass(model)
    untouched = {id(module) for layer in below for module in _linear(layer)}
    layers = sum(_operations(each, forward=id(each) in untouched) for each in _linear(model) if each is not head)
    counted = layers + (_operations(head) * supervised if head is not None else 0)
    seen = sum(length**2 for length in lengths) / sum(lengths)
    attention = 7 * config.num_hidden_layers - 5 * len(below)
    return float(counted + attention * seen * config.hidden_size)


def most_tokens_per_second(operations: float | None, gpus: int) -> float | None:
    """Tokens a second that so many GPUs of this process's kind are good for; None where that is not known."""
    rate = rated(torch.cuda.get_device_name()) if torch.cuda.is_available() else None
    return gpus * rate / operations if operations and rate else None


def rated(name: str) -> float | None:
    """Operations a second of a whole GPU by the name that its driver gives, `NVIDIA H100 80GB HBM3`."""
    words = name.replace("-", " ").split()
    known = [model for model in _RATED if set(model.split()) <= set(words)]
    return None if _SLICE in words or not known else _RATED[max(known, key=len)]


def _without_backward_pass(model: Any) -> list[nn.Module]:
    """The first decoder layers, as far as neither they nor what comes before them is trained."""
    if _is_trained(model.get_input_embeddings()):
        return []
    try:
        _, layers = decoder_layers(model, "the count of operations")
    except SettingsError:
        return []
    return list(takewhile(lambda layer: not _is_trained(layer), layers))


def _is_trained(module: nn.Module) -> bool:
    return any(parameter.requires_grad for parameter in module.parameters())


def _linear(model: nn.Module) -> Iterator[nn.Linear]:
    # bitsandbytes' and PEFT's are subclasses, or hold one.
    return (module for module in model.modules() if isinstance(module, nn.Linear))


def _operations(layer: nn.Linear, *, forward: bool = False) -> int:
    """A layer's own count, of its `forward` pass alone where no other goes through it."""
    times = 6 if layer.weight.requires_grad else 2 if forward else 4
    # 4 bits packed into bytes have another shape than the layer.
    return times * layer.in_features * layer.out_features
