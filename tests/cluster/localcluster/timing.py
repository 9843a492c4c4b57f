"""The clock, read at the edge and handed inwards."""

import datetime
import time
from collections.abc import Callable


def now() -> datetime.datetime:
    """The current time, in UTC."""
    return datetime.datetime.now(datetime.UTC)


def wait_until(condition: Callable[[], bool], *, seconds: float, what: str, pause: float = 0.2) -> None:
    """Poll `condition` until it holds.

    Raises:
        TimeoutError: it did not hold within `seconds`; the message says what was waited for.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds:.0f} s for {what}")
        time.sleep(pause)
