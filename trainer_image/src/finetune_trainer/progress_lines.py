"""Progress lines on stdout, which the operator tails: at most one every few seconds, and one at each change of stage.

Progress is best effort: nothing waits for it.
"""

import logging
import time
from collections.abc import Callable
from typing import Final, TextIO

from finetune_api.progress import Progress, Stage, encode

LOG: Final = logging.getLogger(__name__)
INTERVAL_SECONDS: Final = 3.0


class ProgressLines:
    """Keeps what was said last, so that each line is whole."""

    def __init__(self, out: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._out = out
        self._clock = clock
        self._written = float("-inf")
        self.progress = Progress(stage="loading")
        """What was said last."""

    def stage(self, stage: Stage) -> None:
        """Say at once that another stage has begun."""
        LOG.info("stage: %s", stage)
        self.update(self.progress.model_copy(update={"stage": stage}), now=True)

    def heartbeat(self) -> None:
        """Repeat the last line, if it is old, to show that work goes on."""
        self.update(self.progress)

    def validated(self, *, rows: int, done: int, total: int) -> None:
        """Say how much of the data was read: rows, and bytes of all files."""
        seen = {"stage": "validating", "rows": rows, "bytes": done, "total_bytes": total}
        self.update(self.progress.model_copy(update=seen), now=done == total)

    def update(self, progress: Progress, *, now: bool = False) -> None:
        """Say something, `now` or if nothing was said for a while."""
        self.progress = progress
        if now or self._clock() - self._written >= INTERVAL_SECONDS:
            self._written = self._clock()
            self._out.write(encode(progress) + "\n")
            self._out.flush()
