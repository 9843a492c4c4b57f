"""Where the time goes from a trainer's start to its first optimiser steps, while a GPU waits."""

import logging
import time
from collections.abc import Callable
from typing import Final, Literal

LOG: Final = logging.getLogger(__name__)

Phase = Literal["checks", "libraries", "claim", "modelDownload", "data", "modelLoad", "baseline", "firstSteps"]
"""checks: what S3 holds already is looked at. libraries: torch and others are imported. claim: the attempt's epoch, and
the adapter that it begins with. data: what preflight has prepared. baseline: the base is measured, and the method's
layers are put on it. firstSteps: the reference of a preference objective, the newest checkpoint, compiling and the
largest micro-batch on a GPU, and steps until their losses were read."""


class StartUp:
    """Phases one after another: where one ends the next begins. Of a phase that comes again the first counts."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """The first phase begins now."""
        self._clock, self._since = clock, clock()
        self.seconds: dict[str, float] = {}
        """By phase, those that are over."""

    def ended(self, phase: Phase) -> None:
        """Note that a phase is over, and tell how long it took."""
        if phase in self.seconds:
            return
        now = self._clock()
        self.seconds[phase], self._since = round(now - self._since, 2), now
        LOG.info("start-up: %s took %.1f s", phase, self.seconds[phase])
