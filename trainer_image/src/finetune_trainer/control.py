"""What is watched while training goes on, and what follows from it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class ValidationMeasure:
    """A metric of the objective, measured on the validation rows."""

    name: str
    measure: Callable[[Any], float]
    """Of a model. Higher is better, as of every metric but the loss; may raise StopRequested."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """Names, meanings and defaults are those of `spec.training.validation` and `spec.training.guards`."""

    metric: str = "loss"
    times: int = 4
    keep: Literal["last", "best"] = "last"
    patience: int | None = None
    on_divergence: Literal["fail", "rollback"] = "fail"
    divergence_factor: float = 4.0
    measure: ValidationMeasure | None = None
    """Measures `metric`, where that is not the loss."""
