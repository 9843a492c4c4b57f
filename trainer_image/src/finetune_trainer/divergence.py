"""Whether training diverges, judged by the loss of each step in turn. Pure; the trend goes with every checkpoint.

One step's loss says little where batches are small, so it is smoothed: an exponential mean over about ten steps, its
start corrected as Adam does (Kingma and Ba 2015, arXiv:1412.6980, section 3).
"""

from dataclasses import dataclass, replace
from typing import Final

from finetune_api.conditions import Reason
from finetune_trainer.errors import DivergedError

MOST_ROLLBACKS: Final = 3
_SMOOTHED: Final = 10
"""Steps that the mean looks back; before so many it is too noisy to be the lowest, or to be judged."""
_DECAY: Final = 1 - 1 / _SMOOTHED
_FLOOR: Final = 0.25
"""Of the first mean: a lowest one below that counts as that. What is left then is the noise of a few rows that are not
learnt yet, of which a multiple is nothing; with the usual factor of 4 the loss must be back where it began."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LossTrend:
    """The smoothed training loss so far."""

    steps: int = 0
    """That it was made from."""
    mean: float = 0.0
    """Before its start is corrected."""
    first: float | None = None
    """Smoothed loss when it was first judged."""
    lowest: float | None = None
    lowest_step: int = 0

    @property
    def smoothed(self) -> float:
        """The smoothed loss after the last step."""
        return self.mean / (1 - _DECAY**self.steps) if self.steps else 0.0

    def after(self, step: int, loss: float) -> "LossTrend":
        """The trend with the finite loss of one step more."""
        mean = _DECAY * self.mean + (1 - _DECAY) * loss
        trend = replace(self, steps=self.steps + 1, mean=mean)
        if trend.steps < _SMOOTHED:
            return trend
        if trend.lowest is None or trend.smoothed < trend.lowest:
            trend = replace(trend, lowest=trend.smoothed, lowest_step=step)
        return trend if trend.first is not None else replace(trend, first=trend.smoothed)

    def fault(self, factor: float) -> str | None:
        """What is wrong, if the loss has risen above `factor` times its lowest."""
        if self.first is None or self.lowest is None:
            return None
        if self.smoothed <= factor * max(self.lowest, _FLOOR * self.first):
            return None
        return (
            f"the smoothed loss has risen to {self.smoothed:.4g}, more than {factor:g} times "
            f"its lowest, {self.lowest:.4g} after step {self.lowest_step}"
        )


def diverged(fault: str, *, step: int, total_steps: int, rollbacks: int) -> DivergedError:
    """The end of a run that cannot go back, or went back `rollbacks` times in vain."""
    again = f", after {rollbacks} rollbacks" if rollbacks else ""
    return DivergedError(
        reason=Reason.DIVERGED,
        message=f"training diverged: {fault} at step {step} of {total_steps}{again}",
        advice="lower training.learningRate, raise training.warmupRatio or lower method.lora.alpha",
    )
