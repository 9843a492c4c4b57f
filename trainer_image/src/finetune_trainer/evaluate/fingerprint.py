"""Which weights a model has, as a digest: what was measured of a model is found again by it."""

import hashlib
from collections.abc import Collection
from typing import Any

import torch


def fingerprint(model: Any, names: Collection[str]) -> str:
    """SHA-256 in hex over the named parameters of a model: name, number format, shape and every bit."""
    digest = hashlib.sha256()
    for name, parameter in model.named_parameters():
        if name in names:
            bare = parameter.detach().cpu().contiguous()
            digest.update(f"{name} {bare.dtype} {list(bare.shape)}\n".encode())
            digest.update(bare.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
