"""Sections of the spec as the training loop takes them: plain values, so that it runs where the spec cannot be read."""

from typing import Final

from finetune_api.conditions import Reason
from finetune_api.spec.job import FinetuneJobSpec
from finetune_api.spec.training import Method, Training
from finetune_trainer.control import Control, ValidationMeasure
from finetune_trainer.errors import SettingsError
from finetune_trainer.methods.settings import MethodSettings

_REMEDY: Final = "list data sets under data.validation, raise data.split.validation, or leave the setting out"


def method_settings(method: Method) -> MethodSettings:
    """`spec.method`, but for what preflight resolves."""
    return MethodSettings(
        type=method.type,
        dropout=method.lora.dropout,
        target_modules=tuple(method.lora.target_modules),
        last_layers=method.last_layers.count,
    )


def control(training: Training, measure: ValidationMeasure | None = None) -> Control:
    """`spec.training.validation` and `.guards`; `measure` where another metric than the loss is followed."""
    validation, guards = training.validation, training.guards
    return Control(
        metric=validation.metric,
        times=validation.times,
        keep=validation.keep,
        patience=validation.patience,
        on_divergence=guards.on_divergence,
        divergence_factor=guards.divergence_factor,
        measure=measure,
    )


def check_validation(spec: FinetuneJobSpec, rows: int) -> None:
    """Check that what is to be followed on the validation rows can be, on so many of them.

    Raises:
        SettingsError: there is none, and the spec asks for more than following the loss.

    """
    if rows:
        return
    asked = spec.training.validation
    for field, is_asked, use in (
        ("metric", asked.metric != "loss", f"{asked.metric} is measured on them"),
        ("keep", asked.keep == "best", "they tell which state is the best"),
        ("patience", asked.patience is not None, "they tell when to stop"),
    ):
        if is_asked:
            raise SettingsError(
                reason=Reason.SETTINGS_INVALID,
                message=f"training.validation.{field} needs validation rows, and there are none: {use}",
                advice=_REMEDY,
            )
