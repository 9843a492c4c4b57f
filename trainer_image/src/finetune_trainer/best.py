"""The weights of the best state so far, kept on the host and in every checkpoint until a better one comes."""

from dataclasses import replace
from typing import Final

import torch
from torch import Tensor

from finetune_trainer.ranks import ALONE, Ranks
from finetune_trainer.sharding import whole
from finetune_trainer.state import LoopState, trainable

_PREFIX: Final = "best/"

Weights = dict[str, Tensor]
"""What is trained, by the parameter's name, on the CPU."""


def copy_weights(model: torch.nn.Module) -> Weights:
    """What `model` trains, as it stands."""
    return {name: whole(parameter.detach()).to("cpu", copy=True) for name, parameter in trainable(model)}


@torch.no_grad()
def put_weights(weights: Weights, model: torch.nn.Module, ranks: Ranks = ALONE) -> None:
    """Give `model` the weights that `copy_weights` took; of several processes, those of the first."""
    for name, parameter in trainable(model):
        ranks.spread(parameter, weights.get(name))


def with_best(state: LoopState, best: Weights) -> LoopState:
    """The state with the best weights beside its own, as `best/<parameter>`."""
    return replace(state, tensors=state.tensors | {f"{_PREFIX}{name}": tensor for name, tensor in best.items()})


def best_in(state: LoopState) -> Weights:
    """The best weights that a state holds; empty where it has none."""
    return {name.removeprefix(_PREFIX): tensor for name, tensor in state.tensors.items() if name.startswith(_PREFIX)}
