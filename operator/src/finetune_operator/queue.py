"""The work queue between watches and workers, with the guarantees of client-go's.

A key that is added twice is worked on once; a key that is added while it is worked on is worked on again afterwards,
never by two workers at a time; a key that failed comes back after a time that doubles.
"""

import asyncio
from collections import deque
from collections.abc import Hashable
from typing import Final, Generic, Protocol, TypeVar

BASE_BACKOFF: Final = 0.05
MAX_BACKOFF: Final = 300.0
"""A job that keeps failing costs one try in five minutes."""

KeyT = TypeVar("KeyT", bound=Hashable)


class QueueObserver(Protocol):
    """Who measures the queue."""

    def added(self, depth: int) -> None:
        """A key came in."""

    def started(self, depth: int, waited: float) -> None:
        """A worker took a key that had waited for so many seconds."""

    def ended(self, worked: float) -> None:
        """A worker gave a key back that it had for so many seconds."""

    def retried(self) -> None:
        """A key failed and comes back later."""


class WorkQueue(Generic[KeyT]):
    """Deduplicating queue with delayed adds and a backoff per key; for one event loop."""

    def __init__(self, observer: QueueObserver) -> None:
        self._observer = observer
        self._ready: deque[KeyT] = deque()
        self._dirty: dict[KeyT, float] = {}
        self._processing: dict[KeyT, float] = {}
        self._failures: dict[KeyT, int] = {}
        self._timers: dict[KeyT, asyncio.TimerHandle] = {}
        self._waiters: deque[asyncio.Future[None]] = deque()

    def __len__(self) -> int:
        """Keys that wait for a worker."""
        return len(self._ready)

    def add(self, key: KeyT) -> None:
        """Have the key worked on soon."""
        if key in self._dirty:
            return
        self._dirty[key] = asyncio.get_running_loop().time()
        if key not in self._processing:
            self._make_ready(key)

    def add_after(self, key: KeyT, seconds: float) -> None:
        """Have the key worked on after some seconds; an earlier appointment stands."""
        loop = asyncio.get_running_loop()
        existing = self._timers.get(key)
        if existing is not None and existing.when() <= loop.time() + seconds:
            return
        if existing is not None:
            existing.cancel()
        self._timers[key] = loop.call_later(seconds, self._ring, key)

    def retry(self, key: KeyT) -> None:
        """Have a failed key worked on again, later each time."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        self._observer.retried()
        self.add_after(key, min(MAX_BACKOFF, BASE_BACKOFF * 2 ** min(failures, 20)))

    def forget(self, key: KeyT) -> None:
        """The key succeeded: its next failure starts with a short wait again."""
        self._failures.pop(key, None)

    async def get(self) -> KeyT:
        """The next key, which this worker owns until `done`."""
        while not self._ready:
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                self._pass_on(waiter)
                raise
        key = self._ready.popleft()
        now = asyncio.get_running_loop().time()
        self._processing[key] = now
        self._observer.started(len(self._ready), now - self._dirty.pop(key))
        return key

    def done(self, key: KeyT) -> None:
        """The worker gives the key back; it is worked on again if it was added meanwhile."""
        self._observer.ended(asyncio.get_running_loop().time() - self._processing.pop(key))
        if key in self._dirty:
            self._make_ready(key)

    def at_work(self) -> list[float]:
        """For each key that a worker has now, for how many seconds."""
        now = asyncio.get_running_loop().time()
        return [now - since for since in self._processing.values()]

    def _make_ready(self, key: KeyT) -> None:
        self._ready.append(key)
        self._observer.added(len(self._ready))
        self._wake()

    def _wake(self) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    def _pass_on(self, waiter: "asyncio.Future[None]") -> None:
        """A worker that was woken and cancelled at once must not swallow the wake-up."""
        if waiter.done() and not waiter.cancelled() and self._ready:
            self._wake()

    def _ring(self, key: KeyT) -> None:
        del self._timers[key]
        self.add(key)
