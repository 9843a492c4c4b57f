"""The most that training could reach: the operations that a token needs, over the chip's sustained matrix rate."""

import time
from typing import Any

import torch

from benchmarks.trainer.work import LORA_RANK, Work, synchronize


def matrix_rate(device: torch.device, dtype: torch.dtype, seconds: float) -> float:
    """Floating-point operations a second of large matrix products, sustained for so long."""
    size = 8192 if device.type == "cuda" else 2048
    left, right = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    left @ right
    done, start = 0, _now()
    while _now() - start < seconds:
        for _ in range(4):
            left @ right
        done += 4
    return done * 2 * size**3 / (_now() - start)


def operations_per_token(model: Any, work: Work) -> float:
    """4 for each parameter of a layer, 6 for LoRA's, 4 for the head's on supervised tokens, and attention.

    Where all are trained it is 6 for each.

    A frozen weight is met in the forward pass and once in the backward pass (2 + 2 operations), a trained one once
    more.
    Attention: 7 S d for each layer, where S is the mean length of documents as a token sees it, sum(s^2) / sum(s).
    """
    config = model.config
    linear = [m for name, m in model.named_modules() if isinstance(m, torch.nn.Linear) and "lm_head" not in name]
    layers = sum(module.weight.numel() for module in linear)
    lora = sum(LORA_RANK * (module.in_features + module.out_features) for module in linear)
    head = work.vocabulary * config.hidden_size
    lengths = [len(ids) for ids, _ in work.rows()]
    seen = sum(length**2 for length in lengths) / sum(lengths)
    attention = 7 * seen * config.hidden_size * config.num_hidden_layers
    if work.method == "full":
        return 6 * (layers + head * work.supervised) + attention
    return 4 * layers + 6 * lora + 4 * head * work.supervised + attention


def _now() -> float:
    synchronize()
    return time.perf_counter()
