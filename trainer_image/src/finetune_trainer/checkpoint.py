"""Checkpoints: everything exact resume needs, in S3, as safetensors and JSON; nothing pickled.

A checkpoint is committed by its manifest, written last, once, and only while no newer attempt has begun. Resume takes
the newest one whose files are intact and falls back to the one before. When and in which thread that happens is
decided elsewhere (`cadence`, `uploads`): `capture` takes what must not change, `commit` does the rest.
"""

import logging
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from finetune_api.base import dump_plain, load_plain
from finetune_api.conditions import Reason
from finetune_api.report import SavedCheckpoint
from finetune_trainer.epoch import Epoch
from finetune_trainer.errors import InfrastructureError, TrainerError
from finetune_trainer.manifest import CheckpointManifest, FileEntry, Identity, is_intact, upload_files
from finetune_trainer.metrics_file import METRICS
from finetune_trainer.output import CommittedCheckpoint, checkpoints
from finetune_trainer.state import Counters, LoopState

LOG: Final = logging.getLogger(__name__)
TENSORS: Final = "state.safetensors"
COUNTERS: Final = "counters.json"
MANIFEST: Final = "manifest.json"


@dataclass(frozen=True, slots=True)
class Captured:
    """A state of the loop and the metrics up to it."""

    state: LoopState
    metrics: bytes


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

    def capture(self, state: LoopState) -> Captured:
        """The state with what belongs to it now; training may go on then."""
        return Captured(state, self.metrics.read_bytes())

    def commit(self, captured: Captured) -> SavedCheckpoint:
        """Upload a state and commit it, then remove what is older than the newest `keep`; to try again is harmless.

        A stop request does not end it: it comes so that the state is saved.

        Raises:
            DivergedError: the state is not finite.
            InfrastructureError: Superseded, or S3 does not answer.

        """
        state, storage = captured.state, self.epoch.storage.unstoppable()
        state.require_finite()
        self.epoch.check()
        step = state.counters.step
        prefix = self.epoch.layout.checkpoint(self.epoch.number, step)
        # An earlier try may have been whole, or this attempt has gone back and done the step anew.
        if storage.read(f"{prefix}{MANIFEST}") is not None:
            storage.delete([f"{prefix}{MANIFEST}"])
        directory = _empty(self.work_dir / "checkpoint-upload")
        save_file(state.tensors, directory / TENSORS)
        (directory / COUNTERS).write_text(dump_plain(state.counters))
        (directory / METRICS).write_bytes(captured.metrics)
        names, what = (TENSORS, COUNTERS, METRICS), f"checkpoint of step {step}"
        manifest = self._manifest(state, upload_files(storage, directory, prefix, names, what))
        shutil.rmtree(directory)
        self.epoch.check()
        LOG.info("committing %s", what)
        if not storage.write_if_absent(f"{prefix}{MANIFEST}", manifest.model_dump_json().encode()):
            raise InfrastructureError(
                reason=Reason.SUPERSEDED,
                message=f"{prefix}{MANIFEST} was written by somebody else meanwhile",
                advice="give every FinetuneJob an output of its own",
            )
        LOG.info("checkpoint of step %d is committed", step)
        self._prune()
        size = sum(entry.size for entry in manifest.files)
        return SavedCheckpoint(step=step, uri=prefix, saved_at=manifest.saved_at, size_bytes=size)

    def _manifest(self, state: LoopState, files: list[FileEntry]) -> CheckpointManifest:
        return CheckpointManifest(
            spec_digest=self.identity.spec_digest,
            data_digest=self.identity.data_digest,
            settings=self.identity.settings,
            plan_digest=state.counters.plan_digest,
            execution=state.execution,
            epoch=self.epoch.number,
            step=state.counters.step,
            saved_at=self.clock(),
            files=files,
        )

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
        directory = _empty(self.work_dir / "checkpoint-download")
        if not self._download(candidate, directory):
            LOG.warning("%s is damaged; falling back to the checkpoint before", candidate.prefix)
            return None
        try:
            counters = load_plain(Counters, (directory / COUNTERS).read_text())
            state = LoopState(counters, load_file(directory / TENSORS), candidate.manifest.execution)
        except (SafetensorError, OSError, ValueError) as error:
            LOG.warning("%s cannot be read (%s); falling back", candidate.prefix, type(error).__name__)
            return None
        shutil.copyfile(directory / METRICS, self.metrics)
        shutil.rmtree(directory)
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

        A later attempt's come first, whatever their step: it would have resumed from a newer one that was intact. Those
        of attempts newer than this one are theirs to remove.
        """
        storage = self.epoch.storage.unstoppable()
        try:
            self.epoch.check()
            found = [
                each for each in checkpoints(storage, self.epoch.layout) if each.manifest.epoch <= self.epoch.number
            ]
            found.sort(key=lambda each: (each.manifest.epoch, each.manifest.step), reverse=True)
            for old in found[self.keep :]:
                # The manifest first: a half-removed checkpoint must not be taken for whole.
                storage.delete([f"{old.prefix}{MANIFEST}"])
                storage.delete(item.uri for item in storage.list_objects(old.prefix))
        except TrainerError as error:
            LOG.warning("old checkpoints are not removed: %s", error.message)


def _empty(directory: Path) -> Path:
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    return directory
