"""Checkpoints saved in the background, while training goes on.

One state is on its way at a time. Until it is saved no other is taken: the host then holds one copy of the state, and
the next one to be saved is the newest. Only a stop request and the last step cannot wait; they hand over their state as
soon as the one on its way is through, which is nearly there and sure, where a new one is not.

Where S3 does not answer or refuses, the state is tried again after 10 seconds, then twice as long each time, up to five
minutes, or until a newer state is due and takes its place. Training goes on and the log warns, however long that lasts:
an attempt that gave up would lose what it has done, and the next one could not begin either. It counts only when it has
to be safe: asked to stop, the attempt fails instead of calling itself saved; at the end, the artifact's own upload
decides. Whatever another try cannot mend (a newer attempt, a state that is not finite) ends training at its next step.
"""

import itertools
import logging
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Final, Self

from finetune_api.conditions import Reason
from finetune_api.report import SavedCheckpoint
from finetune_trainer.checkpoint import Captured, Checkpoints
from finetune_trainer.errors import InfrastructureError, StopRequested, TrainerError
from finetune_trainer.failures import as_trainer_error
from finetune_trainer.state import Counters, LoopState

LOG: Final = logging.getLogger(__name__)
_PASSING: Final = {Reason.STORAGE_UNAVAILABLE, Reason.ACCESS_DENIED, Reason.BUCKET_NOT_FOUND}
"""What may be over at the next try. Storage has worked in this attempt; keys that were rotated are mounted anew."""
_FIRST_WAIT: Final = 10.0
_LONGEST_WAIT: Final = 300.0
_LAST_TRIES: Final = 2
"""More tries of a state that somebody waits for."""
_LAST_WAIT: Final = 5.0


class Uploads:
    """Saves one attempt's checkpoints in a thread of its own. All methods are for the thread that trains."""

    def __init__(
        self, checkpoints: Checkpoints, on_saved: Callable[[SavedCheckpoint], None], *, first_wait: float = _FIRST_WAIT
    ) -> None:
        """`on_saved` is called by `tell`, in the thread that trains; `first_wait` are seconds before the second try."""
        self._checkpoints, self._on_saved, self._first_wait = checkpoints, on_saved, first_wait
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._saved: queue.SimpleQueue[SavedCheckpoint] = queue.SimpleQueue()
        self._running: Future[None] | None = None
        self._newest: Counters | None = None
        self._tries_left: int | None = None
        self._waiting, self._wake = threading.Event(), threading.Event()

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait until the newest state is saved, or cannot be.

        Raises:
            TrainerError: it never can be; or the attempt was asked to stop and it is not.

        """
        failure = self._drain(_LAST_TRIES)
        self._pool.shutdown()
        if failure is None:
            return
        LOG.warning("the newest state is not saved: %s", failure.message)
        if isinstance(error, StopRequested):
            raise InfrastructureError(
                reason=failure.reason,
                message=f"asked to stop, but the newest state could not be saved: {failure.message}",
                advice=f"the next attempt goes on from the checkpoint before; {failure.advice}",
            ) from failure
        if error is None and failure.reason not in _PASSING:
            raise failure

    def restore(self, plan_digest: str) -> LoopState | None:
        """Load the newest intact state of this plan; None begins at step 0."""
        return self._checkpoints.restore(plan_digest)

    def ready(self) -> bool:
        """Whether a state would be taken at once.

        Raises:
            TrainerError: saving the last one failed for good.

        """
        self.tell()
        if self._running is None or self._waiting.is_set():
            return True
        if not self._running.done():
            return False
        if failure := self._drain(more_tries=0):
            raise failure
        return True

    def save(self, state: LoopState) -> None:
        """Take over a state, after the one on its way; nothing is done for one that was taken over before.

        Raises:
            TrainerError: saving the one before failed for good.

        """
        if self._newest == state.counters:
            return
        captured = self._checkpoints.capture(state)
        failure = self._drain(more_tries=0)
        if failure is not None and failure.reason not in _PASSING:
            raise failure
        self._newest, self._tries_left = state.counters, None
        self._running = self._pool.submit(self._commit, captured)

    def tell(self) -> None:
        """Tell of what was saved since."""
        while not self._saved.empty():
            self._on_saved(self._saved.get())

    def _drain(self, more_tries: int) -> TrainerError | None:
        """Wait until nothing is on its way; why it failed, if it did, in spite of so many more tries."""
        if self._running is None:
            return None
        self._tries_left = more_tries
        self._wake.set()
        try:
            self._running.result()
        except TrainerError as error:
            self._newest = None
            return error
        finally:
            self._running = None
            self._wake.clear()
            self.tell()
        return None

    def _commit(self, captured: Captured) -> None:
        """Save a state, however often it takes; runs in the background."""
        for failures in itertools.count():
            try:
                self._saved.put(self._checkpoints.commit(captured))
            except Exception as error:  # whatever it is, it must reach the thread that trains
                failure = as_trainer_error(error)
                if failure.reason not in _PASSING:
                    raise failure from error
                self._wait_for_next_try(captured.state.counters.step, failures, failure)
            else:
                return

    def _wait_for_next_try(self, step: int, failures: int, failure: TrainerError) -> None:
        """Wait as long as is due; raise the failure where nobody wants another try."""
        if self._tries_left != 0:
            longest = _LONGEST_WAIT if self._tries_left is None else _LAST_WAIT
            seconds = min(longest, self._first_wait * 2**failures)
            LOG.warning("checkpoint of step %d is not saved, next try in %.0f s: %s", step, seconds, failure.message)
            self._waiting.set()
            self._wake.wait(seconds)
            self._wake.clear()
            self._waiting.clear()
        if self._tries_left is not None:
            if self._tries_left <= 0:
                raise failure
            self._tries_left -= 1
