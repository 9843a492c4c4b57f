"""Decoder layers, and the arithmetic of the loss, compiled by torch for training.

Between a layer's matrix products lie some thirty element-wise operations: norms in float32, rotations of queries and
keys, the gate, LoRA's sums. One by one each is a pass over memory, and of a 1B model on an H200 they took as long as
the products (docs/speed.md). Compiled they are a few kernels. Every layer has the same code, which is compiled
once, for any number of tokens, so that rows need no padding to a fixed size. (Technique: regional compilation, as in
torchtune and accelerate.)

Only the training pass goes through compiled layers. What is measured, generated and saved never sees them.
"""

import functools
import importlib.util
import os
import shutil
import sysconfig
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal, ParamSpec, TypeVar

import torch
from torch import Tensor

from finetune_trainer.flops import operations_per_token
from finetune_trainer.methods.joined import joined_layers
from finetune_trainer.methods.layers import decoder_layers

_USE: Final = "spec.training.compile"
_WORTHWHILE: Final = 1e17
"""Operations of a run from which on compiling, about a minute, pays: five minutes of an H200 without it."""
_active: set[str] = set()
"""Not empty while layers are compiled."""

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def why_not_compiled(
    wanted: Literal["auto", "on", "off"],
    model: Any,
    lengths: Sequence[int],
    supervised: float,
    tokens: float,
    *,
    is_divided: bool,
) -> str:
    """Why the layers of a run are left as they are; empty where they are to be compiled.

    Args:
        wanted: `spec.training.compile`.
        model: What is trained.
        lengths: Tokens of its items.
        supervised: Share of tokens that the loss is on.
        tokens: That this process has before it.
        is_divided: Whether processes hold a part of every layer each.

    """
    device = next(model.parameters()).device.type
    missing = _missing(device)
    reasons = {
        "training.compile is off": wanted == "off",
        "processes hold a part of every layer each": is_divided,
        f"there is no {missing}": bool(missing),
        "on a CPU it does not pay": wanted == "auto" and device != "cuda",
    }
    found = next((reason for reason, applies in reasons.items() if applies), "")
    if found or wanted == "on":
        return found
    operations = operations_per_token(model, lengths, supervised)
    if operations is None:
        return "the operations of a model with experts cannot be counted; training.compile on compiles it"
    return "" if operations * tokens >= _WORTHWHILE else "what is left of the run is too short for it to pay"


@contextmanager
def compiled_layers(model: Any) -> Iterator[None]:
    """Within, the model's decoder layers and what is `compiled_too` are compiled where a gradient is computed.

    Raises:
        SettingsError: the layers cannot be told from the model's other parts.

    """
    with joined_layers(model), _replaced(model, lambda forward: torch.compile(forward, dynamic=True)):
        _active.add(_USE)
        try:
            yield
        finally:
            _active.clear()


@contextmanager
def recomputed_layers(model: Any) -> Iterator[None]:
    """Within, only what enters a decoder layer is kept for the backward pass, which computes the rest again.

    Memory for about a third more time. (Chen et al. 2016, arXiv:1604.06174.)

    Raises:
        SettingsError: the layers cannot be told from the model's other parts.

    """
    with _replaced(model, lambda forward: functools.partial(_checkpoint, forward)):
        yield


def compiled_too(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """A function of tensors that is compiled wherever the layers are; the first dimension of its tensors may vary."""

    @functools.wraps(function)
    def call(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        if not _active:
            return function(*args, **kwargs)
        for tensor in args:
            if isinstance(tensor, torch.Tensor):
                torch._dynamo.maybe_mark_dynamic(tensor, 0)
        return compiled()(*args, **kwargs)

    @functools.cache
    def compiled() -> Callable[Arguments, Result]:
        return torch.compile(function)

    return call


@contextmanager
def _replaced(model: Any, wrap: Callable[[Callable[..., Any]], Callable[..., Any]]) -> Iterator[None]:
    """Within, the decoder's layers compute by `wrap(forward)` where a gradient is wanted."""
    _, layers = decoder_layers(model, _USE)
    before = [layer.__dict__.get("forward") for layer in layers]
    for layer in layers:
        is_trained = any(parameter.requires_grad for parameter in layer.parameters())
        layer.forward = _where_trained(layer.forward, wrap(layer.forward), is_trained)
    try:
        yield
    finally:
        for layer, forward in zip(layers, before, strict=True):
            del layer.forward
            if forward is not None:
                layer.forward = forward


def _where_trained(plain: Callable[..., Any], wrapped: Callable[..., Any], is_trained: bool) -> Callable[..., Any]:
    def call(states: Tensor, *args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return plain(states, *args, **kwargs)
        if is_trained and not states.requires_grad:
            # The first layer's: otherwise it is compiled once more, for a gradient less.
            states = states.detach().requires_grad_()
        return wrapped(states, *args, **kwargs)

    return call


def _checkpoint(forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return torch.utils.checkpoint.checkpoint(forward, *args, use_reentrant=False, **kwargs)


def _missing(device: str) -> str:
    """What torch's compiler needs and this machine lacks: Triton compiles its launchers, as modules of Python."""
    if device != "cuda":
        return "" if shutil.which(os.environ.get("CXX", "g++")) else "C++ compiler"
    if not any(map(shutil.which, (os.environ.get("CC", "cc"), "gcc", "clang"))):
        return "C compiler"
    if not (Path(sysconfig.get_path("include")) / "Python.h").is_file():
        return "Python.h"
    return "" if importlib.util.find_spec("triton") else "Triton"
