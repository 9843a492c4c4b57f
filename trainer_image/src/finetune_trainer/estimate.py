"""What training will take, computed before a GPU is asked for; torch is not imported.

Memory of one GPU at the worst micro-batch, in bytes, with c = 2 (bfloat16) or 4 (float32) by precision:

- *weights*: c a number. qlora: 4.127 bits in linear layers (arXiv:2305.14314, section 3), 4 bytes elsewhere. What full
  and last-layers train: 4, and c for the copy that autocast computes with.
- *adapter*: 4 a number; rank x (in + out) numbers a matrix, and out more with dora.
- *gradients*: 4 a trained number. *optimizer*: 8, AdamW's two moments. With fsdp both are divided among the processes;
  weights are too, but are held whole for a while to be measured, which is what counts.
- *activations*: tokens x what a layer keeps x layers that a gradient passes through, and one layer more for what the
  backward pass works with.
- *logits*: of one chunk of the loss.
- *runtime*: 1 GiB, CUDA's context and the libraries' workspaces.

A layer keeps a x width + b x key width + e x inner width + 28 x rank bytes a token for its backward pass. The
coefficients were measured as what autograd saves (`saved_tensors_hooks`) in Llama layers of transformers 5.23 with PEFT
0.21, SDPA attention and all-linear targets; a test measures them again. Ideally fused layers keep half of that.
"""

import logging
import math
from collections.abc import Iterable
from typing import Final, Literal

from finetune_api.conditions import Reason
from finetune_api.report import Estimate
from finetune_api.spec.training import Method
from finetune_trainer.base_model import BaseModel, TensorInfo
from finetune_trainer.errors import SettingsError
from finetune_trainer.hyperparameters import Hyperparameters
from finetune_trainer.methods.settings import WHOLE_MODEL

LOG: Final = logging.getLogger(__name__)
_KEPT: Final = {
    ("fused", 2): (16, 4, 8), ("fused", 4): (24, 8, 16),
    ("adapter", 2): (36, 4, 10), ("adapter", 4): (24, 8, 16),
    ("dora", 2): (40, 8, 36), ("dora", 4): (34, 8, 46),
    ("whole", 2): (30, 4, 8), ("whole", 4): (32, 8, 16),
}  # fmt: skip
"""Bytes that a layer keeps a token: for the width, the keys' width, the inner width; fused adapters are those that are
computed in one piece with their base (`methods.fused`)."""
_DROPOUT: Final = {2: 24, 4: 40}
"""More for the width where adapters have dropout; 4 for the inner width."""
_MATRICES: Final = 7
"""Linear layers of a Llama layer, each with an adapter."""
_DORA_BYTES: Final = 5
"""A number of a linear layer: DoRA takes the norm of the whole updated matrix."""
_NF4_BYTES: Final = 4.127 / 8
_CHUNK: Final = 1024
"""Positions whose logits exist at once; `loss._CHUNK`."""
_RUNTIME: Final = 2**30
_TIGHT: Final = 0.9
_SMALLEST: Final = 16


def estimate(
    base: BaseModel,
    method: Method,
    settings: Hyperparameters,
    *,
    longest_item: int,
    steps: int,
    tokens: int,
    gpu: bool,
    available: int | None = None,
    shards: int = 1,
) -> Estimate:
    """Memory and length of training.

    Args:
        base: The base model's sizes.
        method: What is trained.
        settings: Resolved.
        longest_item: Tokens of the longest item, of all its sequences: a micro-batch holds at least one.
        steps: Optimiser steps of the plan.
        tokens: Tokens of all of them.
        gpu: Whether it runs on a GPU, which decides what precision `auto` is.
        available: Bytes of one GPU, where known.
        shards: Processes that the layers are divided among.

    """
    batch = max(settings.micro_batch, longest_item)
    parts = {**_fixed(base, method, settings, gpu, shards), **_moving(base, method, settings, batch, gpu=gpu)}
    return Estimate(
        memory_bytes=sum(parts.values()),
        parts=parts,
        available_bytes=available,
        steps=steps,
        tokens=tokens,
        # A weight takes what its gradient does.
        checkpoint_bytes=(parts["gradients"] + parts["optimizer"]) * shards,
    )


def run_length(settings: Hyperparameters, *, items: int, tokens: int) -> tuple[int, int]:
    """About how many steps a run has, and tokens all of them go through; the plan, made of all lengths, says exactly.

    A step ends where another row would exceed it, so on average half a row of it stays empty.

    Args:
        settings: Resolved.
        items: Of an epoch.
        tokens: Of an epoch.

    """
    mean = tokens / items
    filled = max(mean, settings.tokens_per_step - mean / 2)
    steps = max(1, math.ceil(tokens * settings.epochs / filled))
    if settings.max_steps is not None and settings.max_steps < steps:
        return settings.max_steps, round(settings.max_steps * filled)
    return steps, round(tokens * settings.epochs)


def require_fit(
    estimate: Estimate,
    base: BaseModel,
    method: Method,
    settings: Hyperparameters,
    *,
    longest_item: int,
    shards: int = 1,
) -> None:
    """Refuse a job that cannot fit the GPU that is known; warn of one that nearly fills it.

    Where the layers are not divided, training cuts micro-batches down to a row and computes activations again before it
    gives up (`rehearsal`), so that only what does not fit even then is refused.

    Raises:
        SettingsError: with the numbers, and what to change.

    """
    available = estimate.available_bytes
    if available is None or estimate.memory_bytes <= available:
        if available is not None and estimate.memory_bytes > _TIGHT * available:
            LOG.warning("training takes about %s of the GPU's %s", _gib(estimate.memory_bytes), _gib(available))
        return
    adapts = shards == 1
    parts = estimate.parts
    if adapts:
        parts = parts | _moving(base, method, settings, longest_item, gpu=True, recomputed=True)
        if sum(parts.values()) <= available:
            LOG.warning(
                "training as it is asked for takes about %s of the GPU's %s: it will choose smaller micro-batches, or "
                "compute activations again", _gib(estimate.memory_bytes), _gib(available),
            )  # fmt: skip
            return
    largest = sorted(parts.items(), key=lambda part: part[1], reverse=True)[:3]
    fitting = fitting_micro_batch(base, method, settings, available, shards, recomputed=adapts)
    raise SettingsError(
        reason=Reason.SETTINGS_INVALID,
        message=f"training takes {'at least ' if adapts else ''}about {_gib(sum(parts.values()))} of GPU memory, "
        f"one GPU has {_gib(available)}; " + ", ".join(f"{name} {_gib(size)}" for name, size in largest),
        advice=_knobs(method, longest_item, fitting),
    )


def fitting_micro_batch(
    base: BaseModel,
    method: Method,
    settings: Hyperparameters,
    available: int,
    shards: int = 1,
    *,
    recomputed: bool = False,
) -> int:
    """Most tokens of a micro-batch that fit `available` bytes of a GPU; less than 16 where nothing does."""
    room = available - sum(_fixed(base, method, settings, gpu=True, shards=shards).values())
    room -= _logits(base, method, _CHUNK, _compute_bytes(method, settings, gpu=True))
    return max(0, math.floor(room / _bytes_per_token(base, method, settings, gpu=True, recomputed=recomputed)))


def _knobs(method: Method, longest_item: int, fitting: int) -> str:
    if fitting >= max(longest_item, _SMALLEST):
        return f"set training.microBatchTokens to at most {fitting} (the result stays the same), or take a larger GPU"
    knobs = []
    if fitting >= _SMALLEST:
        knobs.append(f"data.maxTokens (a row of {longest_item} tokens goes through at once, {fitting} fit)")
    if method.type in WHOLE_MODEL:
        knobs.append("method.type lora, which keeps neither gradients nor moments of the base")
    else:
        knobs.append("method.lora.rank")
        if method.type != "qlora":
            knobs.append("method.type qlora, which holds the base in 4 bit")
    return f"lower or change {', or '.join(knobs)}; or take a larger GPU or a smaller base model"


def _fixed(base: BaseModel, method: Method, settings: Hyperparameters, gpu: bool, shards: int) -> dict[str, int]:
    """Parts that do not grow with the micro-batch."""
    compute = _compute_bytes(method, settings, gpu)
    adapter = 0 if method.type in WHOLE_MODEL else _adapter_numbers(base, method, settings.rank)
    trained = adapter or _trained_numbers(base, method)
    return {
        "weights": _weights(base, method, compute),
        "adapter": 4 * adapter,
        "gradients": 4 * trained // shards,
        "optimizer": 8 * trained // shards,
        "runtime": _RUNTIME if gpu else 0,
    }


def _moving(
    base: BaseModel, method: Method, settings: Hyperparameters, batch: int, *, gpu: bool, recomputed: bool = False
) -> dict[str, int]:
    """Parts that grow with the micro-batch."""
    compute = _compute_bytes(method, settings, gpu)
    activations = batch * _bytes_per_token(base, method, settings, gpu=gpu, recomputed=recomputed)
    if method.type == "dora":
        activations += _DORA_BYTES * _count(_targets(base, method))
    return {"activations": round(activations), "logits": _logits(base, method, min(batch, _CHUNK), compute)}


def _weights(base: BaseModel, method: Method, compute: int) -> int:
    linear = _count(base.linear_layers)
    if method.type == "qlora":
        return round(_NF4_BYTES * linear) + 4 * (base.parameters - linear)
    trained = _trained_numbers(base, method) if method.type in WHOLE_MODEL else 0
    copies = compute if compute < 4 else 0
    return trained * (4 + copies) + (base.parameters - trained) * compute


def _trained_numbers(base: BaseModel, method: Method) -> int:
    if method.type == "full":
        return base.parameters
    first = base.layers - method.last_layers.count
    return base.hidden + sum(
        tensor.numbers for tensor in base.tensors if (number := _layer(tensor)) is not None and number >= first
    )


def _layer(tensor: TensorInfo) -> int | None:
    """Number of the layer that a tensor is a part of."""
    return next((int(part) for part in tensor.name.split(".") if part.isdigit()), None)


def _adapter_numbers(base: BaseModel, method: Method, rank: int) -> int:
    magnitudes = 1 if method.type == "dora" else 0
    return sum(rank * sum(each.shape) + magnitudes * each.shape[0] for each in _targets(base, method))


def _targets(base: BaseModel, method: Method) -> list[TensorInfo]:
    """Matrices that get an adapter. Experts get none: transformers holds them as one tensor that is no linear layer."""
    names = method.lora.target_modules
    return [
        tensor
        for tensor in base.linear_layers
        if ".experts." not in tensor.name
        and ("all-linear" in names or any(f".{tensor.module}".endswith(f".{name}") for name in names))
    ]


def _bytes_per_token(
    base: BaseModel, method: Method, settings: Hyperparameters, *, gpu: bool, recomputed: bool
) -> float:
    """Activations of all layers that a gradient passes through, and of one more.

    Where they are `recomputed`, what enters each of these layers, and the activations of two.
    """
    compute = _compute_bytes(method, settings, gpu)
    kind = _kind(method)
    width, keys, inner = _KEPT[kind, compute]
    rank = 0
    if kind != "whole":
        rank = settings.rank
        if method.lora.dropout > 0:
            width, inner = width + _DROPOUT[compute], inner + 4
    kept = width * base.hidden + keys * base.kv_width + inner * base.inner
    kept += (compute if kind == "fused" else 4) * _MATRICES * rank
    layers = method.last_layers.count if method.type == "last-layers" else base.layers
    held = 2 * kept + layers * compute * base.hidden if recomputed else kept * (layers + 1)
    # The hidden states that the head is given, and their gradient.
    return held + 2 * compute * base.hidden


def _kind(method: Method) -> Literal["whole", "dora", "adapter", "fused"]:
    if method.type in WHOLE_MODEL:
        return "whole"
    if method.type == "dora":
        return "dora"
    return "adapter" if method.type == "qlora" or method.lora.dropout > 0 else "fused"


def _logits(base: BaseModel, method: Method, positions: int, compute: int) -> int:
    """Float32 logits, a temporary copy of them, and the head's own output; a trained head's gradient of one chunk."""
    head = base.vocabulary * base.hidden * compute if method.type == "full" else 0
    return positions * base.vocabulary * (8 + compute) + head


def _compute_bytes(method: Method, settings: Hyperparameters, gpu: bool) -> int:
    """Bytes of a hidden state's number; with qlora everything but the quantised layers is float32."""
    if method.type == "qlora":
        return 4
    half = settings.precision == "bfloat16" or (settings.precision == "auto" and gpu)
    return 2 if half else 4


def _count(tensors: Iterable[TensorInfo]) -> int:
    return sum(tensor.numbers for tensor in tensors)


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"
