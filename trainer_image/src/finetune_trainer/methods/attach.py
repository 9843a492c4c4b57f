"""A method put onto the base model: afterwards exactly what the method trains requires a gradient."""

from pathlib import Path
from typing import Any, Final

import torch
from peft import PeftModel

from finetune_trainer.hyperparameters import Hyperparameters
from finetune_trainer.methods.adapters import add_adapter, continue_adapter
from finetune_trainer.methods.fused import fuse
from finetune_trainer.methods.head import TrainedHead
from finetune_trainer.methods.layers import train_everything, train_last_layers
from finetune_trainer.methods.precision import hold_in_float32, settle
from finetune_trainer.methods.settings import WHOLE_MODEL, MethodSettings


def attach(
    base: Any,
    method: MethodSettings,
    settings: Hyperparameters,
    *,
    head: TrainedHead | None = None,
    parent: Path | None = None,
    fused: bool = True,
) -> Any:
    """The model to train: `base` itself, or a PeftModel around it.

    Before its first step it computes what the base does, or, with a parent, what the parent does: measured then, it is
    the rival `parent`.

    Args:
        base: As `load_base` gives it, frozen, with its head. It is changed in place.
        method: Which weights change.
        settings: Rank, scale, and the seed that new weights are drawn from.
        head: The objective's, where it is not the base's own.
        parent: Directory of the adapter to go on from, as `parent.fetch_parent` has checked it.
        fused: Whether adapters train in one piece with their base, where they can (`fused`); another rounding.

    Raises:
        SettingsError: a target module does not exist or is the head; the model has no such layers; the parent's
            weights do not fit.

    """
    torch.manual_seed(settings.seed)
    compute, heads = base.dtype, _modules(head)
    if method.type in WHOLE_MODEL:
        if method.type == "full":
            train_everything(base)
        else:
            train_last_layers(base, method.last_layers, heads)
        hold_in_float32(base, compute, heads)
        return base
    task_type = head.task_type if head else _LANGUAGE
    if parent is not None:
        model = continue_adapter(base, method, parent, task_type, heads)
    else:
        model = add_adapter(base, method, settings, task_type, heads)
    if fused:
        fuse(model)
    return model


def finish(model: Any, compute: torch.dtype, *, head: TrainedHead | None = None) -> None:
    """Give a trained model the form that it is measured, published and used in; `compute` is the base's format."""
    if not isinstance(model, PeftModel):
        settle(model, compute, _modules(head))


_LANGUAGE: Final = "CAUSAL_LM"


def _modules(head: TrainedHead | None) -> list[str]:
    return list(head.modules_to_save) if head else []
