"""Manifests: the small objects written last that turn uploaded files into a commit.

S3 has no transaction over several objects, but one PUT is atomic. So files go first, under their own prefix,
and count for nothing until a manifest with their sizes and SHA-256 names them.
"""

import hashlib
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from pydantic import Field, JsonValue

from finetune_api.base import Message
from finetune_api.report import TrainerReport
from finetune_trainer.execution import Execution
from finetune_trainer.storage import Storage

LOG: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Identity:
    """What decides a result: equal identities mean the same adapter is wanted."""

    spec_digest: str
    data_digest: str
    settings: dict[str, JsonValue] = field(default_factory=dict, compare=False)
    """What the spec's digest is over, to tell people what differs; empty where it is not known."""


class FileEntry(Message):
    """One file of a commit."""

    name: str
    """Relative to the manifest's prefix."""
    size: int
    """Bytes."""
    sha256: str
    """Hex."""


class CheckpointManifest(Message):
    """The commit of one checkpoint, `manifest.json` beside its files."""

    schema_version: Literal["1"] = "1"
    spec_digest: str
    data_digest: str
    settings: dict[str, JsonValue] = Field(default={})
    """What the spec's digest is over."""
    plan_digest: str
    """Of the order in which rows are learnt from, the data cursor's axis: the step says how far along."""
    execution: Execution | None = None
    """How the steps up to here were computed."""
    epoch: int
    step: int
    saved_at: str
    files: list[FileEntry]

    @property
    def identity(self) -> Identity:
        """Whose state this is."""
        return Identity(self.spec_digest, self.data_digest, self.settings)


class FinalManifest(Message):
    """The commit of a job's result; there is at most one under an output, ever."""

    schema_version: Literal["1"] = "1"
    spec_digest: str
    data_digest: str
    settings: dict[str, JsonValue] = Field(default={})
    """What the spec's digest is over."""
    namespace: str
    name: str
    epoch: int
    committed_at: str | None = None
    """By the S3 service's clock, `promotion.service_time`; None in manifests of versions without promotion."""
    prefix: str
    """URI that the files' names are relative to."""
    files: list[FileEntry]
    report: TrainerReport

    @property
    def identity(self) -> Identity:
        """Whose result this is."""
        return Identity(self.spec_digest, self.data_digest, self.settings)


def upload_files(
    storage: Storage, directory: Path, prefix: str, names: Iterable[str], what: str = ""
) -> list[FileEntry]:
    """Upload the named files of a directory, and describe what was uploaded; the log calls them `what`, or by URI."""
    entries = []
    for name in names:
        path = directory / name
        LOG.info("uploading %s: %s", what or prefix, name)
        storage.upload(path, prefix + name)
        entries.append(FileEntry(name=name, size=path.stat().st_size, sha256=file_sha256(path)))
    return entries


def is_intact(entry: FileEntry, path: Path) -> bool:
    """Whether a downloaded file is the one that the manifest names."""
    return path.stat().st_size == entry.size and file_sha256(path) == entry.sha256


def files_digest(entries: Sequence[FileEntry]) -> str:
    """`sha256:<hex>` over one line per file, `<sha256> <name>`, in order of name."""
    lines = "".join(f"{entry.sha256} {entry.name}\n" for entry in sorted(entries, key=lambda each: each.name))
    return f"sha256:{hashlib.sha256(lines.encode()).hexdigest()}"


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's content, in hex."""
    with path.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()
