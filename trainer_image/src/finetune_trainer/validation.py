"""How training is followed on the validation rows: when to measure, which measurement is the best, when to stop early.

Pure: what was measured is in the record, which goes with every checkpoint, so that a resumed run decides as the
unbroken one does.
"""

import math
from typing import Final

from finetune_api.base import Message
from finetune_api.conditions import Reason
from finetune_api.spec.job import FinetuneJobSpec
from finetune_api.spec.training import Validation
from finetune_trainer.errors import SettingsError

_REMEDY: Final = "list data sets under data.validation, raise data.split.validation, or leave the setting out"


class Measurement(Message):
    """The chosen metric after a step."""

    step: int
    value: float


class ValidationRecord(Message):
    """What the measurements so far have shown."""

    step: int = 0
    """After which the last one was taken."""
    best: Measurement | None = None
    """Of equal ones the earliest."""
    worse: int = 0
    """Measurements since the best one."""

    def after(self, step: int, value: float, *, higher_is_better: bool) -> "ValidationRecord":
        """The record with one measurement more; a value that is not finite is never the best."""
        if math.isfinite(value) and (self.best is None or _beats(value, self.best.value, higher_is_better)):
            return ValidationRecord(step=step, best=Measurement(step=step, value=value))
        return self.model_copy(update={"step": step, "worse": self.worse + 1})


def points(steps: int, times: int) -> frozenset[int]:
    """Steps after which is measured: `times` of them, evenly spread, the last one included; fewer in a short run."""
    return frozenset(math.ceil(steps * part / times) for part in range(1, times + 1))


def out_of_patience(record: ValidationRecord, settings: Validation) -> str | None:
    """Why training ends early, if it does."""
    if settings.patience is None or record.worse < settings.patience:
        return None
    if record.best is None:
        return f"validation {settings.metric} was not finite at any of {record.worse} measurements"
    return (
        f"validation {settings.metric} has not improved since step {record.best.step} "
        f"({record.best.value:.4g}; {record.worse} measurements)"
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


def _beats(value: float, best: float, higher_is_better: bool) -> bool:
    return value > best if higher_is_better else value < best
