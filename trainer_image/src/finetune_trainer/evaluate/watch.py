"""What long measurements call between two batches."""

from collections.abc import Callable
from dataclasses import dataclass

from finetune_api.conditions import Reason
from finetune_trainer.errors import StopRequested


@dataclass(frozen=True, slots=True)
class Watch:
    """Shows that work goes on, and heeds a stop request."""

    heartbeat: Callable[[], None]
    should_stop: Callable[[], bool]

    def check(self) -> None:
        """Stop if asked to.

        Raises:
            StopRequested: `should_stop` was true.

        """
        if self.should_stop():
            raise StopRequested(
                reason=Reason.PREEMPTED,
                message="asked to stop while a model was measured",
                advice="nothing to do: the next attempt measures again",
            )

    def batch(self, _rows: int) -> None:
        """Take note of a finished batch of so many rows.

        Raises:
            StopRequested: `should_stop` was true.

        """
        self.heartbeat()
        self.check()
