"""What training tells while it works: progress lines for the operator, and `metrics.jsonl` for later."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

from finetune_api.report import SavedCheckpoint
from finetune_trainer.progress_lines import ProgressLines
from finetune_trainer.steplog import StepLog


class Reporter(ProgressLines):
    """Progress of one run, and its metrics file."""

    def __init__(
        self,
        out: TextIO,
        metrics: Path,
        clock: Callable[[], float] = time.monotonic,
        gauge: Callable[[], dict[str, float | None]] = dict,
    ) -> None:
        """`gauge` adds to every step's line what is measured beside the loop."""
        super().__init__(out, clock)
        self._gauge = gauge
        self.metrics = metrics
        """The metrics file, one JSON object per log of the training loop."""
        metrics.parent.mkdir(parents=True, exist_ok=True)
        metrics.touch()

    def step(self, log: StepLog) -> None:
        """Take an optimiser step: a line of the metrics file, and progress."""
        with self.metrics.open("a") as target:
            target.write(json.dumps(log.record() | self._gauge()) + "\n")
        rate = log.tokens / log.step  # tokens of a mean step
        left = (log.total_steps - log.step) * rate
        seen = {
            "step": log.step,
            "total_steps": log.total_steps,
            "loss": log.loss,
            "tokens_per_second": log.tokens_per_second,
            "eta_seconds": round(left / log.tokens_per_second) if log.tokens_per_second else None,
        }
        self.update(self.progress.model_copy(update=seen))

    def resumed(self, step: int) -> None:
        """Say which checkpoint training goes on from."""
        self.update(self.progress.model_copy(update={"resumed_from_step": step}), now=True)

    def checkpoint(self, saved: SavedCheckpoint) -> None:
        """Say at once that a checkpoint is committed."""
        self.update(self.progress.model_copy(update={"checkpoint": saved}), now=True)
