"""The result in S3: the artifact and its records first, the manifest last and only once."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from finetune_api.report import TrainerReport
from finetune_api.request import TrainerRequest
from finetune_trainer.artifact import SavedArtifact
from finetune_trainer.epoch import Epoch
from finetune_trainer.manifest import FileEntry, FinalManifest, Identity, files_digest, upload_files
from finetune_trainer.output import finished_result
from finetune_trainer.promotion import service_time

LOG: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class UploadedArtifact:
    """An uploaded artifact, not committed yet."""

    saved: SavedArtifact
    uri: str
    """Prefix in S3."""
    files: list[FileEntry]
    """Named relative to `uri`."""

    @property
    def files_of_run(self) -> list[FileEntry]:
        """The files, named relative to the folder that holds the artifact's."""
        folder = self.saved.directory.name
        return [entry.model_copy(update={"name": f"{folder}/{entry.name}"}) for entry in self.files]

    @property
    def digest(self) -> str:
        """SHA-256 over the files' digests."""
        return files_digest(self.files)

    @property
    def size_bytes(self) -> int:
        """Size of all files."""
        return sum(entry.size for entry in self.files)


def upload_artifact(epoch: Epoch, saved: SavedArtifact) -> UploadedArtifact:
    """Upload a saved artifact under this attempt's own prefix, into a folder of the same name."""
    epoch.check()
    uri = f"{epoch.layout.run(epoch.number)}{saved.directory.name}/"
    names = sorted(path.name for path in saved.directory.iterdir() if path.name != "README.md")
    return UploadedArtifact(saved, uri, upload_files(epoch.storage, saved.directory, uri, names))


def upload_records(epoch: Epoch, directory: Path, names: Sequence[str]) -> list[FileEntry]:
    """Upload metrics and examples beside the artifact."""
    return upload_files(epoch.storage, directory, epoch.layout.run(epoch.number), names)


def commit(
    epoch: Epoch,
    request: TrainerRequest,
    *,
    identity: Identity,
    artifacts: Sequence[UploadedArtifact],
    records: Sequence[FileEntry],
    report: TrainerReport,
) -> FinalManifest:
    """Write the report, then the one final manifest.

    Returns:
        The committed manifest: ours, or that of an attempt of the same job that was faster.

    Raises:
        InfrastructureError: Superseded.
        SettingsError: OutputOccupied, another job committed in the meantime.

    """
    epoch.check()
    prefix = epoch.layout.run(epoch.number)
    content = report.model_dump_json(exclude_none=True, indent=2)
    epoch.storage.write(f"{prefix}report.json", content.encode())
    written = epoch.storage.list_objects(f"{prefix}report.json")[0]
    manifest = FinalManifest(
        spec_digest=identity.spec_digest,
        data_digest=identity.data_digest,
        settings=identity.settings,
        namespace=request.namespace,
        name=request.name,
        epoch=epoch.number,
        committed_at=service_time(written.modified),
        prefix=prefix,
        files=[*(entry for artifact in artifacts for entry in artifact.files_of_run), *records],
        report=report,
    )
    if epoch.storage.write_if_absent(epoch.layout.manifest, manifest.model_dump_json(exclude_none=True).encode()):
        LOG.info("the result is committed: %s", epoch.layout.manifest)
        return manifest
    return finished_result(epoch.storage, epoch.layout, identity) or manifest
