"""What is known of each optimiser step, read from the device for many steps at once.

Reading a loss makes the host wait for the device; steps are therefore noted while they run and read every two seconds
or so, without losing the value of any step.
"""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Final, NamedTuple

import torch
from torch import Tensor

from finetune_trainer.loss import INPUT_TIME
from finetune_trainer.state import Counters

_READ_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True)
class StepLog:
    """One optimiser step, as it was."""

    step: int
    """Steps done, this one included."""
    total_steps: int
    loss: float
    """Mean of this step, per supervised token, row or pair."""
    grad_norm: float
    """Before clipping."""
    learning_rate: float
    tokens: int
    """Real tokens since the start of the run, earlier attempts included."""
    weight: float
    """Likewise: supervised tokens, rows or pairs."""
    tokens_per_second: float
    """Real tokens, over the steps read together; validation and checkpoints not counted."""
    weight_per_second: float = 0.0
    """Likewise: supervised tokens, rows or pairs."""
    input_stall: float = 0.0
    """Likewise: the share of the time that making batches took."""
    step_seconds: float = 0.0
    """Time that this attempt has spent in steps so far."""
    validation_loss: float | None = None
    """Measured after this step; where a stop request cut the measurement off, after the step before."""
    validation_metric: tuple[str, float] | None = None
    """Likewise: the metric that is followed besides the loss."""
    rolled_back_to: int | None = None
    """The step whose state this one went on from, where those between are left out."""

    micro_batch_tokens: int | None = None
    """What micro-batches were cut down to, at this step or one soon after, because memory did not suffice."""

    def fault(self) -> str | None:
        """What is wrong, if loss or gradient is not a finite number."""
        if math.isfinite(self.loss) and math.isfinite(self.grad_norm):
            return None
        return f"loss {self.loss}, gradient norm {self.grad_norm}"

    def record(self) -> dict[str, float | int | None]:
        """A row of the metrics file; the metric stands under `validation_<name>`."""
        row = asdict(self)
        del row["validation_metric"], row["rolled_back_to"], row["micro_batch_tokens"]
        if self.validation_metric is not None:
            name, value = self.validation_metric
            row[f"validation_{name}"] = value
        if self.rolled_back_to is not None:
            row["rolled_back_to"] = self.rolled_back_to
        if self.micro_batch_tokens is not None:
            row["micro_batch_tokens"] = self.micro_batch_tokens
        return row


@dataclass(slots=True)
class _Unread:
    counters: Counters
    learning_rate: float
    loss: Tensor
    grad_norm: Tensor


class _Speed(NamedTuple):
    """Of the steps that are read together; a second, a second, a share, and seconds so far."""

    tokens: float
    weight: float
    input_stall: float
    seconds: float


class StepReader:
    """Steps whose loss and gradient norm are still on the device."""

    def __init__(self, total_steps: int, done: Counters, clock: Callable[[], float]) -> None:
        self._total_steps, self._clock = total_steps, clock
        self._unread: list[_Unread] = []
        self._read = done
        self._tokens, self._weight = 0, 0.0
        self._input_seconds, self.seconds = 0.0, 0.0
        self.restart()

    def restart(self) -> None:
        """Start the clock anew, after something that is not a step."""
        self._since, self._input_since = self._clock(), INPUT_TIME.seconds

    def rewind(self, counters: Counters) -> None:
        """Go on from an earlier state; what was read since was read, but is not what is counted."""
        self._read, self._unread = counters, []
        self.restart()

    def note(self, counters: Counters, learning_rate: float, loss: Tensor, grad_norm: Tensor) -> None:
        """Remember a step without waiting for it; `counters` stand after it."""
        self._unread.append(_Unread(counters, learning_rate, loss, grad_norm))

    def due(self) -> bool:
        """Whether the last reading is long enough ago."""
        return self._clock() - self._since >= _READ_SECONDS

    def read(self) -> list[StepLog]:
        """All steps since the last reading; waits for the device."""
        if not self._unread:
            return []
        values = torch.stack([torch.stack([item.loss, item.grad_norm]) for item in self._unread]).tolist()
        seconds = max(self._clock() - self._since, 1e-9)
        last = self._unread[-1].counters
        tokens, weight = last.tokens - self._read.tokens, last.weight - self._read.weight
        stalled = INPUT_TIME.seconds - self._input_since
        self._tokens, self._weight = self._tokens + tokens, self._weight + weight
        self._input_seconds, self.seconds = self._input_seconds + stalled, self.seconds + seconds
        speed = _Speed(tokens / seconds, weight / seconds, min(stalled / seconds, 1.0), self.seconds)
        logs = [self._log(item, loss, norm, speed) for item, (loss, norm) in zip(self._unread, values, strict=True)]
        self._read, self._unread = last, []
        self.restart()
        return logs

    def tokens_per_second(self) -> float:
        """Over all steps read so far; 0 before the first."""
        return self._tokens / self.seconds if self.seconds else 0.0

    def weight_per_second(self) -> float:
        """Likewise: supervised tokens, rows or pairs."""
        return self._weight / self.seconds if self.seconds else 0.0

    def input_stall(self) -> float:
        """The share of the time in steps that making batches took."""
        return min(self._input_seconds / self.seconds, 1.0) if self.seconds else 0.0

    def _log(self, item: _Unread, loss: float, grad_norm: float, speed: _Speed) -> StepLog:
        return StepLog(
            step=item.counters.step,
            total_steps=self._total_steps,
            loss=loss,
            grad_norm=grad_norm,
            learning_rate=item.learning_rate,
            tokens=item.counters.tokens,
            weight=item.counters.weight,
            tokens_per_second=speed.tokens,
            weight_per_second=speed.weight,
            input_stall=speed.input_stall,
            step_seconds=speed.seconds,
        )
