"""What processes that train together tell each other outside of the collectives of a step.

The first one keeps a store of a few keys; a thread of every process looks into it twice a second. So a stop request of
one reaches all, wherever they are; a failure of one ends the others, also those that wait in a collective that will
never come to its end; and nobody leaves before the result is committed.

How a run of several ends:

- Each was asked to stop itself (the Job is suspended or deleted): 75 everywhere, the Job may go on later.
- Some were asked (their node is drained): 76 everywhere, and all have to start again together.
- One fails: it ends with its own code, the others with 20 and RankLost, saying whose fault it was.
"""

import logging
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Final

from torch._C._distributed_c10d import Store, TCPStore

from finetune_api.conditions import BEREAVED
from finetune_trainer.errors import RanksStopped, StopRequested, TrainerError
from finetune_trainer.failures import lost_rank
from finetune_trainer.place import Place
from finetune_trainer.signals import StopSignal

LOG: Final = logging.getLogger(__name__)
MEETING_SECONDS: Final = 600.0
"""Pods of one job start apart: images are pulled, nodes come up."""
_LOOK_SECONDS: Final = 0.5
_PATIENCE_SECONDS: Final = 15.0
"""For a process to end by itself once another one has failed."""
_FAREWELL_SECONDS: Final = 10.0
"""For the others to be asked to stop too: kubelets do not send their signals at the same moment."""
_TALK_SECONDS: Final = 2.5 * _FAREWELL_SECONDS
_LOST_SECONDS: Final = 1.2 * _FAREWELL_SECONDS
_STOP, _FAILED, _FINISHED, _LEFT, _HERE = "stop", "failed", "finished", "left", "here"


class Peers:
    """The others of this run. All methods but the thread's own are for the main thread."""

    def __init__(self, place: Place, store: TCPStore, stop: StopSignal) -> None:
        """`store` is that of the first rank."""
        self.place, self.store = place, store
        self._stop = stop
        self._gone = threading.Event()
        self._fault = ""
        """Another process's, once it is known."""
        self._thread: threading.Thread | None = None

    @classmethod
    def meet(cls, place: Place, stop: StopSignal, stall_seconds: float) -> "Peers":
        """Find the others, and wait until all are there.

        Raises:
            InfrastructureError: RankLost; not all came in time.
            StopRequested: SIGTERM came meanwhile.

        """
        deadline = time.monotonic() + max(stall_seconds, MEETING_SECONDS)
        if place.rank:
            _wait_for_host(place, stop, deadline)
        patience = timedelta(seconds=30)
        store = TCPStore(place.host, place.port, is_master=place.rank == 0, timeout=patience, wait_for_workers=False)
        peers = cls(place, store, stop)
        peers._say(_HERE)
        peers._until(lambda: peers._all_say(_HERE), deadline, "not all processes of this run have come")
        LOG.info("all %d processes of this run are there", place.count)
        return peers

    def listen(self, end: Callable[[TrainerError], None]) -> None:
        """Look out for the others from now on; `end` ends this process, whatever it is at."""
        # A connection of its own: one that waits for an answer is locked.
        self._thread = threading.Thread(target=self._listen, args=(self.store.clone(), end), name="peers", daemon=True)
        self._thread.start()

    def wait_for_first(self) -> None:
        """Wait until the first rank has committed the result.

        Raises:
            StopRequested: this run is asked to stop.
            InfrastructureError: RankLost; the first rank is gone.

        """
        self._until(lambda: bool(self.store.check([_FINISHED])), float("inf"), "")

    def finish(self) -> None:
        """Leave after a result: the first rank says so and leaves last, because it keeps the store."""
        self._gone.set()
        if self.place.rank == 0:
            self.store.set(_FINISHED, "1")
        self._leave()

    def part(self, failure: TrainerError) -> TrainerError:
        """Leave after a failure, and say how this process ends: by its own fault, another one's, or a stop request."""
        self._gone.set()
        told: list[TrainerError] = []
        # The first rank may be gone, and the store with it; or it hangs, and a question to it never returns.
        talk = threading.Thread(target=self._talk, args=(failure, told), daemon=True)
        talk.start()
        deadline = time.monotonic() + (_TALK_SECONDS if isinstance(failure, StopRequested) else _LOST_SECONDS)
        while talk.is_alive() and time.monotonic() < deadline:
            self._stop.should_stop()
            talk.join(_LOOK_SECONDS)
        if told:
            return told[0]
        is_lost = failure.reason in BEREAVED and self._fault
        return lost_rank(self._fault) if is_lost else failure

    def _talk(self, failure: TrainerError, told: list[TrainerError]) -> None:
        with suppress(RuntimeError, TrainerError):
            told.append(self._stopped(failure) if isinstance(failure, StopRequested) else self._failed(failure))
            self._leave()

    def _failed(self, failure: TrainerError) -> TrainerError:
        mine = f"rank {self.place.rank} ended: {failure.reason}: {failure.message}"
        if failure.reason not in BEREAVED:
            self.store.compare_set(_FAILED, "", mine)
            return failure
        if not self._fault and self.store.check([_FAILED]):
            self._fault = self.store.get(_FAILED).decode()
        return lost_rank(self._fault) if self._fault else failure

    def _stopped(self, failure: StopRequested) -> StopRequested:
        if self._stop.was_signalled:
            self._say(_STOP)
        deadline = time.monotonic() + _FAREWELL_SECONDS
        while time.monotonic() < deadline:
            if self._stop.was_signalled:
                self._say(_STOP)
            if self._all_say(_STOP):
                return failure
            time.sleep(_LOOK_SECONDS / 5)
        return RanksStopped(
            reason=failure.reason,
            message=f"{failure.message} (some of {self.place.count} processes were asked to)",
            advice=failure.advice,
        )

    def _leave(self) -> None:
        self._say(_LEFT)
        if self.place.rank == 0:
            with suppress(TrainerError):
                self._until(lambda: self._all_say(_LEFT), time.monotonic() + _FAREWELL_SECONDS, "", heed=False)

    def _say(self, key: str) -> None:
        self.store.set(f"{key}/{self.place.rank}", "1")

    def _all_say(self, key: str) -> bool:
        return bool(self.store.check([f"{key}/{rank}" for rank in range(self.place.count)]))

    def _until(self, reached: Callable[[], bool], deadline: float, otherwise: str, *, heed: bool = True) -> None:
        while not reached():
            if heed:
                self._stop.check()
            if time.monotonic() > deadline:
                raise lost_rank(otherwise)
            time.sleep(_LOOK_SECONDS / 5)

    def _listen(self, store: Store, end: Callable[[TrainerError], None]) -> None:
        has_told = False
        while not self._gone.wait(_LOOK_SECONDS):
            try:
                if self._stop.was_signalled and not has_told:
                    store.set(f"{_STOP}/{self.place.rank}", "1")
                    store.set(_STOP, "1")
                    has_told = True
                if store.check([_STOP]):
                    self._stop.tell()
                if store.check([_FAILED]):
                    self._fault = store.get(_FAILED).decode()
                    store.set(f"{_LEFT}/{self.place.rank}", "1")
            except RuntimeError:
                self._fault = "rank 0 does not answer any more"
            if self._fault:
                # The main thread mostly finds out by itself and ends in good order.
                if not self._gone.wait(_PATIENCE_SECONDS):
                    end(lost_rank(self._fault))
                return


def _wait_for_host(place: Place, stop: StopSignal, deadline: float) -> None:
    """Wait until the first rank listens: its pod may not even have a name yet."""
    while True:
        try:
            socket.create_connection((place.host, place.port), timeout=5).close()
        except OSError as error:
            if time.monotonic() > deadline:
                raise lost_rank(
                    f"{place.host}:{place.port}, the first of this run, cannot be reached: {error}"
                ) from None
        else:
            return
        stop.check()
        time.sleep(_LOOK_SECONDS)
