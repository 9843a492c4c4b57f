"""Ends a process in which nothing moves any more: a read that never returns, a collective that one rank left.

A hung call into CUDA, NCCL or the kernel cannot be interrupted, so another thread watches and ends the whole process.
Should even that thread not come to run, because a call holds Python's lock, a timer of the C library ends it later.
"""

import faulthandler
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Final

from finetune_api.conditions import Reason
from finetune_trainer.errors import InfrastructureError, TrainerError
from finetune_trainer.failures import lost_rank

LOG: Final = logging.getLogger(__name__)
_PACKAGE: Final = __name__.partition(".")[0]
_LAST_RESORT: Final = 2
"""Times the limit after which the C library's timer ends the process, with code 1."""
_LOOKS: Final = 20
"""How often within the limit the watchdog looks, so that it is late by a twentieth at most."""
_STDERR: Final = 2
_WAITING: Final = ("ranks", "peers")
"""Modules in which a process waits for others: what hangs there is one of them."""
_PHASES: Final = {
    "data": "input",
    "fetch": "download",
    "parent": "download",
    "ready": "download",
    "publish": "upload",
    "checkpoint": "checkpoint",
    "verify": "verification",
    "evaluate": "evaluation",
    "follow": "validation",
    "loop": "training step",
    "model": "model loading",
}
"""What a module, or a package in it, is at work on."""


class Pulse:
    """When something last moved."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last = clock()

    def beat(self) -> None:
        """Say that something has moved; from any thread."""
        self._last = self._clock()

    def silence(self) -> float:
        """Seconds since."""
        return self._clock() - self._last


@dataclass(frozen=True, slots=True)
class Place:
    """A function at work."""

    module: str
    """Without the name of this package."""
    function: str
    line: int

    def __str__(self) -> str:
        return f"{self.module}.{self.function}, line {self.line}"


def places(frame: FrameType | None) -> Iterator[Place]:
    """The functions of this package that a stack stands in, the innermost first."""
    while frame is not None:
        package, _, module = str(frame.f_globals.get("__name__", "")).partition(".")
        if package == _PACKAGE:
            yield Place(module, frame.f_code.co_name, frame.f_lineno)
        frame = frame.f_back


def hung(silence: float, stack: Sequence[Place]) -> TrainerError:
    """The fault of a process that has not moved for so many seconds; `stack` is what its main thread is at."""
    phases = (_PHASES.get(place.module.partition(".")[0]) for place in stack)
    phase = next((f" in {phase}" for phase in phases if phase is not None), "")
    if stack and stack[0].module in _WAITING:
        return lost_rank(f"the other processes of this run did not come for {silence / 60:.3g} minutes{phase}")
    at = f" ({stack[0]})" if stack else ""
    return InfrastructureError(
        reason=Reason.HUNG,
        message=f"nothing moved for {silence / 60:.3g} minutes{phase}{at}",
        advice="nothing to do at first: another attempt goes on from the last checkpoint. The pod's log has the stack "
        "of every thread; where single pieces of work do take so long, raise training.guards.stallMinutes",
    )


class Watchdog:
    """A thread that calls `on_hang` once, when `pulse` was silent for `limit` seconds."""

    def __init__(
        self,
        pulse: Pulse,
        limit: float,
        on_hang: Callable[[TrainerError], None],
        *,
        on_look: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_look` is called at once and twenty times in `limit`, as long as this very thread runs."""
        self._pulse, self._limit, self._on_hang, self._on_look = pulse, limit, on_hang, on_look
        self._main = threading.main_thread().ident or 0
        self._gone = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def __enter__(self) -> "Watchdog":
        """Watch from now on."""
        self._pulse.beat()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Watch no more."""
        self._gone.set()
        self._thread.join()
        faulthandler.cancel_dump_traceback_later()

    def _watch(self) -> None:
        self._on_look()
        while not self._gone.wait(self._limit / _LOOKS):
            self._on_look()
            faulthandler.dump_traceback_later(_LAST_RESORT * self._limit, exit=True, file=_STDERR)
            silence = self._pulse.silence()
            if silence >= self._limit:
                self._on_hang(hung(silence, list(places(sys._current_frames().get(self._main)))))
                return


def end_process(code: int) -> None:
    """Write the stacks of all threads to stderr and end at once, without waiting for any of them."""
    faulthandler.dump_traceback(file=_STDERR)
    os._exit(code)
