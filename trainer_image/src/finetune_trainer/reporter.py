"""What a run tells while it works: progress lines on stdout for the operator, and `metrics.jsonl` for later.

Progress is best effort: at most one line every few seconds, and one at each change of stage. Nothing waits
for it.
"""

import json
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Final, TextIO

from finetune_api.progress import Progress, Stage, encode
from finetune_api.report import SavedCheckpoint
from finetune_trainer.steplog import StepLog

INTERVAL_SECONDS: Final = 3.0


class Reporter:
    """Progress of one run; keeps what was said last, so that each line is whole."""

    def __init__(self, out: TextIO, metrics: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._out = out
        self._clock = clock
        self._progress = Progress(stage="loading")
        self._written = float("-inf")
        self.metrics = metrics
        """The metrics file, one JSON object per log of the training loop."""
        metrics.parent.mkdir(parents=True, exist_ok=True)
        metrics.touch()

    def stage(self, stage: Stage) -> None:
        """Say at once that another stage has begun."""
        self._update(self._progress.model_copy(update={"stage": stage}), now=True)

    def heartbeat(self) -> None:
        """Repeat the last line, if it is old, to show that work goes on."""
        self._update(self._progress)

    def step(self, log: StepLog) -> None:
        """Take an optimiser step: a line of the metrics file, and progress."""
        with self.metrics.open("a") as target:
            target.write(json.dumps(asdict(log)) + "\n")
        rate = log.tokens / log.step  # tokens of a mean step
        left = (log.total_steps - log.step) * rate
        seen = {
            "step": log.step,
            "total_steps": log.total_steps,
            "loss": log.loss,
            "tokens_per_second": log.tokens_per_second,
            "eta_seconds": round(left / log.tokens_per_second) if log.tokens_per_second else None,
        }
        self._update(self._progress.model_copy(update=seen))

    def checkpoint(self, saved: SavedCheckpoint) -> None:
        """Say at once that a checkpoint is committed."""
        self._update(self._progress.model_copy(update={"checkpoint": saved}), now=True)

    def _update(self, progress: Progress, *, now: bool = False) -> None:
        self._progress = progress
        if now or self._clock() - self._written >= INTERVAL_SECONDS:
            self._written = self._clock()
            self._out.write(encode(progress) + "\n")
            self._out.flush()
