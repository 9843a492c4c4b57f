"""SIGTERM, which Kubernetes sends before it takes a pod away, as a flag that long work asks for.

The handler only sets the flag: a second signal is harmless, and nothing is ever left half done. Downloads,
generation and the training loop ask between pieces of work that are short against the pod's grace period. So whoever
asks has moved on since it last did: that is what a watchdog listens to.

Libraries can't ask. Where one works long and nothing is lost by leaving it half way, as while a model is loaded, the
handler may interrupt it.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from finetune_api.conditions import Reason
from finetune_trainer.errors import StopRequested


class StopSignal:
    """Whether the process was asked to stop."""

    def __init__(self, on_ask: Callable[[], None] = lambda: None) -> None:
        """`on_ask` is called whenever somebody asks, from any thread."""
        self._event = threading.Event()
        self.was_signalled = False
        """Whether SIGTERM has come to this very process."""
        self._on_ask = on_ask
        self._may_interrupt = False

    def install(self) -> "StopSignal":
        """Listen for SIGTERM from now on, and for one that was held back; call from the main thread."""
        signal.signal(signal.SIGTERM, self._handle)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        return self

    @contextmanager
    def interrupting(self) -> Iterator[None]:
        """Within, SIGTERM raises StopRequested wherever the main thread is; also if it has come before."""
        self._may_interrupt = True
        try:
            self.check()
            yield
        finally:
            self._may_interrupt = False

    def tell(self) -> None:
        """Ask the process to stop because another one that works with it was asked to; from any thread."""
        self._event.set()

    def should_stop(self) -> bool:
        """Whether SIGTERM has come, to this process or to one that works with it."""
        self._on_ask()
        return self._event.is_set()

    def check(self) -> None:
        """Raise StopRequested if SIGTERM has come; for work that has no state of its own to save."""
        if self.should_stop():
            raise StopRequested(
                reason=Reason.PREEMPTED,
                message="the pod was asked to stop",
                advice="Nothing to do: the next attempt goes on from the last checkpoint.",
            )

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        self.was_signalled = True
        self._event.set()
        if self._may_interrupt:
            self._may_interrupt = False  # a second signal must not disturb the clean-up that the first one started
            self.check()
