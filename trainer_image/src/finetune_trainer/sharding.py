"""FSDP2: every process holds a part of every decoder layer, and the whole of one only while it computes with it.

Weights, gradients and the optimiser's moments of the layers are divided (`fully_shard`), whether they are trained or
frozen. Embeddings, final norm and head stay whole everywhere: the loss computes with the head's weight itself, which
many models share with the embeddings.

The division lasts as long as the training loop. What measures or writes the model sees it whole (`gathered`).

accelerate's FSDP plugin is not used: on a CPU it falls back to copies in silence.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor

from finetune_trainer.methods.layers import decoder_layers

_USE = "spec.resources.parallelism fsdp"


def shard(model: Any) -> None:
    """Divide the decoder's layers among all processes of the default group, in place.

    Raises:
        SettingsError: its layers cannot be told from its other parts.

    """
    decoder, layers = decoder_layers(model, _USE)
    device = next(model.parameters()).device
    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    for layer in layers:
        _sum_gradients(fully_shard(layer, mesh=mesh))
    # The root of all has no weights of its own; it lets the next layer be gathered while one computes.
    inside = {id(parameter) for parameter in layers.parameters()}
    others = {parameter for parameter in decoder.parameters() if id(parameter) not in inside}
    fully_shard(decoder, mesh=mesh, ignored_params=others)


def _sum_gradients(layer: FSDPModule) -> None:
    """A step's loss is divided by the weight of the whole step already: nothing is left to average."""
    layer.set_gradient_divide_factor(1.0)
    layer.set_force_sum_reduction_for_comms(True)


@contextmanager
def gathered(model: nn.Module) -> Iterator[None]:
    """Within, every process holds the whole model, and computes without the others; if it was divided at all."""
    gather(model)
    yield
    for layer in _divided(model):
        layer.set_reshard_after_forward(True, recurse=False)
        layer.reshard()


def gather(model: nn.Module) -> None:
    """Give every process the whole model for good."""
    for layer in _divided(model):
        layer.set_reshard_after_forward(False, recurse=False)
        layer.unshard()


def _divided(model: nn.Module) -> list[FSDPModule]:
    return [module for module in model.modules() if isinstance(module, FSDPModule)]


def whole(tensor: Tensor) -> Tensor:
    """A tensor that may be divided, put together; all processes take part."""
    found: Tensor = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
    return found
