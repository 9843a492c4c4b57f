"""A function that runs beside the caller, and is abandoned when the program ends first."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

_Result = TypeVar("_Result")


def in_background(function: Callable[[], _Result]) -> Callable[[], _Result]:
    """Start `function` in a thread; the returned one waits for its result, or raises what it raised.

    Not an executor: that would keep a program that failed elsewhere waiting for the thread, in silence.
    """
    future: Future[_Result] = Future()

    def run() -> None:
        try:
            future.set_result(function())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future.result
