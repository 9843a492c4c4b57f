"""How training is followed on the validation rows: when to measure, which measurement is the best, when to stop early.

Pure: what was measured is in the record, which goes with every checkpoint, so that a resumed run decides as the
unbroken one does.
"""

import math
from dataclasses import dataclass, replace

from finetune_trainer.control import Control


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """The chosen metric after a step."""

    step: int
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidationRecord:
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
        return replace(self, step=step, worse=self.worse + 1)


def points(steps: int, times: int) -> frozenset[int]:
    """Steps after which is measured: `times` of them, evenly spread, the last one included; fewer in a short run."""
    return frozenset(math.ceil(steps * part / times) for part in range(1, times + 1))


def out_of_patience(record: ValidationRecord, control: Control) -> str | None:
    """Why training ends early, if it does."""
    if control.patience is None or record.worse < control.patience:
        return None
    if record.best is None:
        return f"validation {control.metric} was not finite at any of {record.worse} measurements"
    return (
        f"validation {control.metric} has not improved since step {record.best.step} "
        f"({record.best.value:.4g}; {record.worse} measurements)"
    )


def _beats(value: float, best: float, higher_is_better: bool) -> bool:
    return value > best if higher_is_better else value < best
