"""Where batches are worked on: in this process, or for large data in one process for each core.

Python runs one thread at a time, and of the work on a batch only the tokenizer's part does without it. Batches are
handed out as processes come free; what becomes of them is taken up in the order in which they were read, so nothing
depends on how many processes there are.
"""

import logging
import os
import signal
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import Final, Protocol, Self

from finetune_api.conditions import Reason
from finetune_trainer.data.batch import BatchMaker, Made, Watch
from finetune_trainer.data.garbage import fewer_searches
from finetune_trainer.data.split import SideRule
from finetune_trainer.data.stream import Batch
from finetune_trainer.errors import InfrastructureError

LOG: Final = logging.getLogger(__name__)

MakeBatchMaker = Callable[[], BatchMaker]
"""Called in each process; pickled for those other than this one."""

LARGE: Final = 64_000_000
"""Bytes of data from which processes of their own pay: each takes seconds to import what it needs."""
_MOST: Final = 8
"""Processes. One reads for all, which takes it an eighth of what is done with it."""
_AHEAD: Final = 2
"""Batches on their way, for each process: what bounds memory while one takes long."""


class Workers(Protocol):
    """Whoever works on batches."""

    def begin(self, rule: SideRule) -> None:
        """The batches that follow are of another side. Those before have been taken."""

    def make(self, batches: Iterable[Batch]) -> Iterator[tuple[Batch, Made]]:
        """What becomes of each, in order; batches are asked for as they can be worked on."""

    def finish(self) -> list[Watch]:
        """What was seen of the rows; the end."""


def workers(make: MakeBatchMaker, data_bytes: int) -> AbstractContextManager[Workers]:
    """Those that suit the size of the data and the cores that this process may use."""
    count = min(_cores(), _MOST) if data_bytes >= LARGE else 1
    if count == 1:
        return nullcontext(InProcess(make))
    LOG.info("preparing the data in %d processes", count)
    return Processes(make, count)


def _cores() -> int:
    """Cores that a container's limit, affinity and the machine leave us."""
    from joblib import cpu_count  # noqa: PLC0415  only large data needs to know

    return int(cpu_count())


class InProcess:
    """Works on each batch when it is asked for."""

    def __init__(self, make: MakeBatchMaker) -> None:
        self._maker = make()

    def begin(self, rule: SideRule) -> None:
        """Another side."""
        self._maker.rule = rule

    def make(self, batches: Iterable[Batch]) -> Iterator[tuple[Batch, Made]]:
        """What becomes of each batch."""
        return ((batch, self._maker.make(batch)) for batch in batches)

    def finish(self) -> list[Watch]:
        """What was seen of the rows."""
        return [self._maker.watch] if self._maker.watch is not None else []


class Processes:
    """Processes that live as long as this context; each works on one batch at a time."""

    def __init__(self, make: MakeBatchMaker, count: int) -> None:
        self._make, self._count = make, count

    def __enter__(self) -> Self:
        """Start them. They import what they need while the first batches are read."""
        # A fresh interpreter each: this one has threads, and locks that a forked one could wait for in vain.
        context = get_context("spawn")
        self._connections: list[Connection] = []
        self._processes = []
        for _ in range(self._count):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs, self._make), daemon=True)
            process.start()
            theirs.close()  # so that its end is noticed at ours
            self._connections.append(ours)
            self._processes.append(process)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End them, whatever they are at."""
        for connection in self._connections:
            connection.close()
        for process in self._processes:
            if kind is not None:
                process.kill()
            process.join()

    def begin(self, rule: SideRule) -> None:
        """Another side."""
        for connection in self._connections:
            _send(connection, rule)

    def make(self, batches: Iterable[Batch]) -> Iterator[tuple[Batch, Made]]:
        """What becomes of each batch, in order."""
        free, busy = deque(self._connections), dict[Connection, int]()
        made: dict[int, Made] = {}
        waiting: deque[tuple[int, Batch]] = deque()
        for number, batch in enumerate(batches):
            ready: list[tuple[Batch, Made]] = []
            while not free or len(waiting) >= _AHEAD * self._count:
                self._receive(busy, made, free)
                ready += _in_order(waiting, made)
            connection = free.popleft()
            _send(connection, batch)
            busy[connection] = number
            waiting.append((number, batch))
            yield from ready  # only now that all are at work
        while waiting:
            self._receive(busy, made, free)
            yield from _in_order(waiting, made)

    def finish(self) -> list[Watch]:
        """What was seen of the rows."""
        for connection in self._connections:
            _send(connection, None)
        seen = [_received(connection) for connection in self._connections]
        return [each for each in seen if each is not None]

    def _receive(self, busy: dict[Connection, int], made: dict[int, Made], free: deque[Connection]) -> None:
        ready = wait(list(busy))
        for connection in [each for each in busy if each in ready]:
            made[busy.pop(connection)] = _received(connection)
            free.append(connection)


def _in_order(waiting: deque[tuple[int, Batch]], made: dict[int, Made]) -> Iterator[tuple[Batch, Made]]:
    while waiting and waiting[0][0] in made:
        number, batch = waiting.popleft()
        yield batch, made.pop(number)


class _Failed(Exception):  # noqa: N818  a message, not raised where it is made
    """What went wrong in a process, as it would have been printed there."""


def _serve(connection: Connection, make: MakeBatchMaker) -> None:
    """Work on what comes, until nothing comes any more."""
    # A signal to the group of processes is for the one that reads; without it, the others end by themselves.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # each process has one core
    try:
        maker = make()
        with fewer_searches():
            _answer(connection, maker)
    except (EOFError, BrokenPipeError):
        return
    except Exception:  # whatever it is, it is told where somebody listens
        connection.send(_Failed(traceback.format_exc()))


def _answer(connection: Connection, maker: BatchMaker) -> None:
    while True:
        told: SideRule | Batch | None = connection.recv()
        if told is None:
            connection.send(maker.watch)
            return
        if isinstance(told, SideRule):
            maker.rule = told
        else:
            connection.send(maker.make(told))


def _send(connection: Connection, told: SideRule | Batch | None) -> None:
    try:
        connection.send(told)
    except BrokenPipeError:
        _received(connection)  # its last words, if it had any


def _received(connection: Connection):  # type: ignore[no-untyped-def]  # noqa: ANN202
    try:
        answer = connection.recv()
    except (EOFError, ConnectionResetError):
        raise InfrastructureError(
            reason=Reason.INTERNAL,
            message="a process that prepares data ended without a word; it was probably killed for memory",
            advice="give the pod more memory (preflight.memory in the operator's chart), or less cores",
        ) from None
    if isinstance(answer, _Failed):
        raise answer
    return answer
