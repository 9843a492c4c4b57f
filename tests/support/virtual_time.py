"""An event loop whose clock jumps to the next timer instead of waiting for it: minutes of an operator in moments."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

ResultT = TypeVar("ResultT")


class _VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0

    def time(self) -> float:
        return self._now

    def _run_once(self) -> None:
        # Private to asyncio, and the one place where the loop is about to wait.
        if not self._ready and self._scheduled:
            self._now = max(self._now, self._scheduled[0].when())
        super()._run_once()


def run_virtually(main: Coroutine[Any, Any, ResultT]) -> ResultT:
    """Run to its end, with time that costs nothing."""
    with asyncio.Runner(loop_factory=_VirtualLoop) as runner:
        return runner.run(main)
