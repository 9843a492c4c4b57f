"""When a checkpoint is due: by the clock, so that a preempted job loses minutes whatever its steps take, or by steps.

Whether it can be taken is another question: one that is due stays due until it was saved.
"""

from typing import Final

_MINUTE: Final = 60.0


class Cadence:
    """The time and the steps since the last checkpoint, against what `spec.checkpoint` allows."""

    def __init__(self, every_minutes: float | None, every_steps: int | None, *, step: int, now: float) -> None:
        """A run begins: after `step` steps, at `now` seconds of any clock that does not run backwards."""
        self._every_minutes, self._every_steps = every_minutes, every_steps
        self.saved(step, now)

    def saved(self, step: int, now: float) -> None:
        """Take note of a checkpoint."""
        self._step, self._now = step, now

    def is_due(self, step: int, now: float) -> bool:
        """Whether the last one is so old, or a multiple of `every_steps` was passed since."""
        if self._every_minutes is not None and now - self._now >= self._every_minutes * _MINUTE:
            return step > self._step
        return self._every_steps is not None and step // self._every_steps > self._step // self._every_steps
