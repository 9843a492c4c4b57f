"""SIGTERM, which Kubernetes sends before it takes a pod away, as a flag that long work asks for.

The handler only sets the flag: a second signal is harmless, and nothing is ever left half done. Downloads,
generation and the training loop ask between pieces of work that are short against the pod's grace period.
"""

import signal
import threading
from types import FrameType

from finetune_api.conditions import Reason
from finetune_trainer.errors import StopRequested


class StopSignal:
    """Whether the process was asked to stop."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def install(self) -> "StopSignal":
        """Listen for SIGTERM from now on; call from the main thread."""
        signal.signal(signal.SIGTERM, self._handle)
        return self

    def should_stop(self) -> bool:
        """Whether SIGTERM has come."""
        return self._event.is_set()

    def check(self) -> None:
        """Raise StopRequested if SIGTERM has come; for work that has no state of its own to save."""
        if self._event.is_set():
            raise StopRequested(
                reason=Reason.PREEMPTED,
                message="the pod was asked to stop",
                advice="Nothing to do: the next attempt goes on from the last checkpoint.",
            )

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        self._event.set()
