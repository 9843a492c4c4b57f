"""Weights are trained in float32, whatever the model computes in.

A step changes a weight by a small share of itself, and bfloat16 has 8 bits: most of the changes would be rounded away.
So what is trained is held in float32 and the matrix products run in the model's own format by autocast (Micikevicius et
al. 2017, arXiv:1710.03740). `settle` ends that: what is measured and published afterwards is the rounded model.

Adapters need none of this: PEFT holds them in float32 beside the frozen base, and converts what goes in and out.
"""

from collections.abc import Sequence
from typing import Any

import torch

from finetune_trainer.state import trainable


def hold_in_float32(model: Any, compute: torch.dtype, heads: Sequence[str]) -> None:
    """Make what trains float32; all matrix products but those of new heads go on to run in `compute`.

    `forward` of decoder and output layer is wrapped, because training, scoring and generation call them one by one.
    """
    for _, parameter in trainable(model):
        parameter.data = parameter.data.float()
    if compute == torch.float32:
        return
    for name, part in model.named_children():
        if name not in heads:
            vars(part)["forward"] = torch.autocast(model.device.type, dtype=compute)(part.forward)


def settle(model: Any, compute: torch.dtype, heads: Sequence[str]) -> None:
    """Round what `hold_in_float32` made wide; nothing can be trained afterwards.

    New heads are rounded, because a model directory has one format, but still held in float32, as they are used.
    """
    for part in model.children():
        vars(part).pop("forward", None)
    for name, parameter in trainable(model):
        rounded = parameter.data.to(compute)
        parameter.data = rounded.float() if name.partition(".")[0] in heads else rounded
    model.requires_grad_(False)
