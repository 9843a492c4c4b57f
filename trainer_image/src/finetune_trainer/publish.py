"""The result in S3: the adapter and its records first, the manifest last and only once.

The adapter is in PEFT's own layout: `PeftModel.from_pretrained(base, directory)` of plain peft loads it. The
tokenizer is not copied, because training does not change it.
"""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from finetune_api.report import Artifact, TrainerReport
from finetune_api.request import TrainerRequest
from finetune_trainer.epoch import Epoch
from finetune_trainer.manifest import FileEntry, FinalManifest, Identity, files_digest, upload_files
from finetune_trainer.output import finished_result

LOG: Final = logging.getLogger(__name__)
ADAPTER_FILES: Final = ("adapter_config.json", "adapter_model.safetensors")


@dataclass(frozen=True, slots=True)
class Adapter:
    """An uploaded adapter, not committed yet."""

    uri: str
    """Prefix in S3."""
    files: list[FileEntry]
    """Named relative to `uri`."""

    def files_under(self, folder: str) -> list[FileEntry]:
        """The files, named relative to the folder that holds the adapter's."""
        return [entry.model_copy(update={"name": folder + entry.name}) for entry in self.files]

    def artifact(self, loss_difference: float) -> Artifact:
        """The adapter as the report tells it, once it was read back and scored."""
        return Artifact(
            uri=self.uri,
            digest=files_digest(self.files),
            size_bytes=sum(entry.size for entry in self.files),
            verified=True,
            loss_difference=loss_difference,
        )


def save_adapter(model: Any, base_uri: str, directory: Path) -> Path:
    """Write a PEFT model's adapter in a form that equal weights give equal bytes."""
    # Without the flag peft looks the base up on the model hub to compare vocabularies.
    model.save_pretrained(str(directory), safe_serialization=True, save_embedding_layers=False)
    path = directory / "adapter_config.json"
    config = json.loads(path.read_text())
    config["base_model_name_or_path"] = base_uri
    if isinstance(config.get("target_modules"), list):
        config["target_modules"].sort()
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    return directory


def upload_adapter(epoch: Epoch, directory: Path) -> Adapter:
    """Upload a saved adapter under this attempt's own prefix."""
    epoch.check()
    uri = f"{epoch.layout.run(epoch.number)}adapter/"
    return Adapter(uri, upload_files(epoch.storage, directory, uri, ADAPTER_FILES))


def upload_records(epoch: Epoch, directory: Path, names: Sequence[str]) -> list[FileEntry]:
    """Upload metrics and examples beside the adapter."""
    return upload_files(epoch.storage, directory, epoch.layout.run(epoch.number), names)


def commit(
    epoch: Epoch,
    request: TrainerRequest,
    *,
    identity: Identity,
    adapter: Adapter,
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
    manifest = FinalManifest(
        spec_digest=identity.spec_digest,
        data_digest=identity.data_digest,
        namespace=request.namespace,
        name=request.name,
        epoch=epoch.number,
        prefix=prefix,
        files=[
            *adapter.files_under("adapter/"),
            *records,
        ],
        report=report,
    )
    if epoch.storage.write_if_absent(epoch.layout.manifest, manifest.model_dump_json(exclude_none=True).encode()):
        LOG.info("the result is committed: %s", epoch.layout.manifest)
        return manifest
    return finished_result(epoch.storage, epoch.layout, identity) or manifest
