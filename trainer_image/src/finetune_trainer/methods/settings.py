"""What a method is told, and what it refuses; torch is not imported."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from finetune_api.conditions import Reason
from finetune_trainer.errors import SettingsError

WHOLE_MODEL: Final = ("full", "last-layers")
"""Methods that change the base's own weights; their result is a whole model."""
ALL_LINEAR: Final = "all-linear"


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodSettings:
    """Meanings and defaults are those of `spec.method`; rank and scale, which it may leave open, are resolved apart."""

    type: Literal["lora", "dora", "rslora", "qlora", "full", "last-layers"] = "lora"
    dropout: float = 0.0
    """`spec.method.lora.dropout`."""
    target_modules: Sequence[str] = (ALL_LINEAR,)
    """`spec.method.lora.targetModules`."""
    last_layers: int = 2
    """`spec.method.lastLayers.count`."""


def too_few_layers(count: int, layers: int) -> SettingsError:
    """The error for a count that the model does not have."""
    return SettingsError(
        reason=Reason.SETTINGS_INVALID,
        message=f"spec.method.lastLayers.count is {count}, the base model has {layers} layers",
        advice=f"choose at most {layers}, or method.type full to train every weight",
    )


def unknown_targets(unknown: Sequence[str], linear: Sequence[str]) -> SettingsError:
    """The error for target modules that are none of the `linear` layers."""
    available = sorted({name.rpartition(".")[2] for name in linear})
    return SettingsError(
        reason=Reason.SETTINGS_INVALID,
        message=f"spec.method.lora.targetModules: {', '.join(unknown)} cannot get an adapter in this base model",
        advice=f"choose from {', '.join(available)}, or all-linear",
    )
