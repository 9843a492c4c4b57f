"""Checkpoints: everything exact resume needs, in S3, as safetensors and JSON; nothing pickled.

A checkpoint is committed by its manifest, written last. Resume takes the newest one whose files are intact
and falls back to the one before. Training waits for the upload: an adapter's state is small against a step.
"""

import logging
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from finetune_api.report import SavedCheckpoint
from finetune_trainer.epoch import Epoch
from finetune_trainer.errors import TrainerError
from finetune_trainer.manifest import CheckpointManifest, Identity, is_intact, upload_files
from finetune_trainer.output import CommittedCheckpoint, checkpoints
from finetune_trainer.state import Counters, LoopState

LOG: Final = logging.getLogger(__name__)
TENSORS: Final = "state.safetensors"
COUNTERS: Final = "counters.json"
METRICS: Final = "metrics.jsonl"


@dataclass(frozen=True)
class Checkpoints:
    """One attempt's checkpoints: saved under its epoch, resumed from any epoch's."""

    epoch: Epoch
    identity: Identity
    keep: int
    work_dir: Path
    metrics: Path
    """The metrics so far; saved and restored with the state, so that the curve has no gap and no overlap."""
    clock: Callable[[], str]
    """Now, as an RFC 3339 timestamp."""

    def save(self, state: LoopState) -> SavedCheckpoint:
        """Commit a state, then remove what is older than the newest `keep`.

        Raises:
            InfrastructureError: Superseded, or S3 does not answer.

        """
        self.epoch.check()
        directory = _empty(self.work_dir / "checkpoint")
        save_file(state.tensors, directory / TENSORS)
        (directory / COUNTERS).write_text(state.counters.model_dump_json())
        shutil.copyfile(self.metrics, directory / METRICS)
        prefix = self.epoch.layout.checkpoint(self.epoch.number, state.counters.step)
        manifest = CheckpointManifest(
            spec_digest=self.identity.spec_digest,
            data_digest=self.identity.data_digest,
            plan_digest=state.counters.plan_digest,
            epoch=self.epoch.number,
            step=state.counters.step,
            saved_at=self.clock(),
            files=upload_files(self.epoch.storage, directory, prefix, (TENSORS, COUNTERS, METRICS)),
        )
        self.epoch.storage.write(f"{prefix}manifest.json", manifest.model_dump_json().encode())
        LOG.info("checkpoint of step %d is committed", state.counters.step)
        self._prune()
        return SavedCheckpoint(step=state.counters.step, uri=prefix, saved_at=manifest.saved_at)

    def restore(self, plan_digest: str) -> LoopState | None:
        """Load the newest intact state of this plan, and the metrics up to it; None begins at step 0."""
        for candidate in checkpoints(self.epoch.storage, self.epoch.layout):
            if candidate.manifest.plan_digest != plan_digest or candidate.manifest.identity != self.identity:
                LOG.warning("%s is of another plan or another job and is not used", candidate.prefix)
                continue
            state = self._load(candidate)
            if state is not None:
                LOG.info("resuming after step %d from %s", state.counters.step, candidate.prefix)
                return state
        return None

    def _load(self, candidate: CommittedCheckpoint) -> LoopState | None:
        directory = _empty(self.work_dir / "checkpoint")
        if not self._download(candidate, directory):
            LOG.warning("%s is damaged; falling back to the checkpoint before", candidate.prefix)
            return None
        try:
            counters = Counters.model_validate_json((directory / COUNTERS).read_text())
            state = LoopState(counters, load_file(directory / TENSORS))
        except (SafetensorError, OSError, ValueError) as error:
            LOG.warning("%s cannot be read (%s); falling back", candidate.prefix, type(error).__name__)
            return None
        shutil.copyfile(directory / METRICS, self.metrics)
        return state

    def _download(self, candidate: CommittedCheckpoint, directory: Path) -> bool:
        """Whether every file that the manifest names is there and intact."""
        entries = {entry.name: entry for entry in candidate.manifest.files}
        listed = self.epoch.storage.list_objects(candidate.prefix)
        present = [item for item in listed if item.name in entries]
        if len(present) < len(entries):
            return False
        paths = self.epoch.storage.download(present, directory)
        return all(is_intact(entries[path.name], path) for path in paths)

    def _prune(self) -> None:
        """Remove old checkpoints; where that fails, training goes on, because the new one is safe.

        A later attempt's come first, whatever their step: it would have resumed from a newer one that was intact.
        """
        storage = self.epoch.storage
        try:
            found = checkpoints(storage, self.epoch.layout)
            found.sort(key=lambda each: (each.manifest.epoch, each.manifest.step), reverse=True)
            for old in found[self.keep :]:
                # The manifest first: a half-removed checkpoint must not be taken for whole.
                storage.delete([f"{old.prefix}manifest.json"])
                storage.delete(item.uri for item in storage.list_objects(old.prefix))
        except TrainerError as error:
            LOG.warning("old checkpoints are not removed: %s", error.message)


def _empty(directory: Path) -> Path:
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    return directory
