"""The whole model with its adapter merged in, for servers that take no adapters and for tools that convert models.

The adapter is merged into the base in the format that training computed in, never into 4-bit weights: with qlora the
base is read anew, unquantised.
"""

from pathlib import Path
from typing import Any

import torch
from peft import PeftModel

from finetune_api.conditions import Reason
from finetune_trainer.artifact import SavedArtifact, load_artifact
from finetune_trainer.errors import DivergedError


def merge(model: PeftModel, adapter: SavedArtifact, base_directory: Path, *, quantized: bool) -> Any:
    """The model of transformers that computes what base and adapter do together; `model` is used up.

    Args:
        model: As `methods.attach.finish` leaves it.
        adapter: The same adapter on disk; it is read back onto an unquantised base where `quantized`.
        base_directory: The base on disk.
        quantized: Whether `model` holds its base in 4 bit.

    Raises:
        DivergedError: the merged weights are not finite.

    """
    if quantized:
        device = next(model.parameters()).device
        model = load_artifact(adapter, base_directory, dtype=torch.bfloat16, device=device)
    try:
        return model.merge_and_unload(safe_merge=True)
    except ValueError as error:
        raise DivergedError(
            reason=Reason.DIVERGED,
            message=f"spec.output.merged: the adapter cannot be merged: {error}",
            advice="lower training.learningRate or method.lora.alpha",
        ) from error
