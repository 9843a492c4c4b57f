"""A token bucket: so many a second, twice as many in a burst."""

import asyncio


class Throttle:
    """Callers wait their turn in the order in which they came."""

    def __init__(self, per_second: float) -> None:
        self._interval = 1 / per_second
        self._slack = 2.0
        self._next = 0.0

    async def wait(self) -> None:
        """Return when the caller may go on."""
        now = asyncio.get_running_loop().time()
        # The next free slot may lie up to `slack` seconds in the past: that is the burst.
        self._next = max(self._next, now - self._slack) + self._interval
        if self._next > now:
            await asyncio.sleep(self._next - now)
