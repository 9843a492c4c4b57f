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
        peak_memory: Callable[[], int | None] = lambda: None,
    ) -> None:
        """`gauge` adds to every step's line what is measured beside the loop; `peak_memory` is in bytes."""
        super().__init__(out, clock)
        self._gauge, self._peak_memory = gauge, peak_memory
        self.most_tokens_per_second: float | None = None
        """What the GPUs could do at the rate that their maker gives, where that is known."""
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
            "supervised_tokens_per_second": log.weight_per_second,
            "mfu": self.utilization(log.tokens_per_second),
            "input_stall": log.input_stall,
            "peak_memory_bytes": self._peak_memory(),
            "step_seconds": log.step_seconds,
            "eta_seconds": round(left / log.tokens_per_second) if log.tokens_per_second else None,
        }
        self.update(self.progress.model_copy(update=seen))

    def execution(self, told: str) -> None:
        """Say how steps are computed, when that is known or has changed."""
        if told != self.progress.execution:
            self.update(self.progress.model_copy(update={"stage": "training", "execution": told}), now=True)

    def utilization(self, tokens_per_second: float) -> float | None:
        """MFU at a speed."""
        return tokens_per_second / self.most_tokens_per_second if self.most_tokens_per_second else None

    def resumed(self, step: int) -> None:
        """Say which checkpoint training goes on from."""
        self.update(self.progress.model_copy(update={"resumed_from_step": step}), now=True)

    def checkpoint(self, saved: SavedCheckpoint) -> None:
        """Say at once that a checkpoint is committed."""
        self.update(self.progress.model_copy(update={"checkpoint": saved}), now=True)
