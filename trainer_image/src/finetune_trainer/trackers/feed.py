"""`metrics.jsonl` as it stands now: a file, or what a job has left in S3 so far.

A run uploads its metrics with every checkpoint, and whole at its end.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from finetune_api.layout import OutputLayout
from finetune_trainer.manifest import FinalManifest
from finetune_trainer.metrics_file import METRICS, StepRecord, read_steps
from finetune_trainer.output import checkpoints
from finetune_trainer.storage import Storage


@dataclass(frozen=True, slots=True)
class Reading:
    """The steps that are known."""

    steps: list[StepRecord]
    finished: bool
    """No more will come."""


class Feed(Protocol):
    """Where steps come from."""

    def read(self) -> Reading:
        """Everything up to now."""


@dataclass(frozen=True, slots=True)
class FileFeed:
    """A file on this machine, which may grow."""

    path: Path

    def read(self) -> Reading:
        """The steps in it; finished with the last one that the run was to have."""
        steps = read_steps(self.path.read_text())
        return Reading(steps, finished=bool(steps) and steps[-1].step == steps[-1].total_steps)


@dataclass(frozen=True, slots=True)
class OutputFeed:
    """A job's `spec.output.uri`."""

    storage: Storage
    layout: OutputLayout

    def read(self) -> Reading:
        """The result's metrics, or else those of the newest checkpoint.

        Raises:
            TrainerError: as `Storage` raises.

        """
        manifest = self.storage.read(self.layout.manifest)
        if manifest is not None:
            prefix = FinalManifest.model_validate_json(manifest).prefix
            return Reading(self._steps(prefix), finished=True)
        newest = checkpoints(self.storage, self.layout)[:1]
        return Reading(self._steps(newest[0].prefix) if newest else [], finished=False)

    def _steps(self, prefix: str) -> list[StepRecord]:
        return read_steps((self.storage.read(prefix + METRICS) or b"").decode())
