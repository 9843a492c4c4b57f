"""What every command of the trainer works with: request, S3, scratch disk, stop signal, the report so far."""

import datetime
import importlib.metadata
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from finetune_api.conditions import Reason
from finetune_api.digest import identity_settings, spec_digest
from finetune_api.layout import OutputLayout
from finetune_api.mounts import MODEL_CACHE_DIR
from finetune_api.report import TrainerReport
from finetune_api.request import TrainerRequest
from finetune_trainer.errors import SettingsError
from finetune_trainer.manifest import FinalManifest, Identity
from finetune_trainer.signals import StopSignal
from finetune_trainer.start_up import StartUp
from finetune_trainer.storage import Storage

_DECISIVE: Final = ("torch", "transformers", "peft", "accelerate", "tokenizers", "safetensors", "numpy", "lm-eval")
"""Libraries whose version can change numbers."""


class Draft:
    """The report as far as it is known; a run that fails half way still tells what it did."""

    def __init__(self, report: TrainerReport) -> None:
        self.report = report

    def add(self, **fields: Any) -> TrainerReport:
        """Fill in fields of the report."""
        self.report = self.report.model_copy(update=fields)
        return self.report


@dataclass(frozen=True)
class Context:
    """One run's surroundings."""

    request: TrainerRequest
    storage: Storage
    work_dir: Path
    stop: StopSignal
    draft: Draft
    clock: Callable[[], str]
    """Now, as an RFC 3339 timestamp."""
    model_cache: Path = Path(MODEL_CACHE_DIR)
    """Where the volume of spec.resources.modelCache is, if it names one."""
    start_up: StartUp = field(default_factory=StartUp)
    """What has passed since the process began."""

    @property
    def layout(self) -> OutputLayout:
        """Where the output lies."""
        spec = self.request.spec
        return OutputLayout.of(
            spec.output.uri,
            run_id=spec.run_id,
            checkpoint_uri=spec.checkpoint.uri,
            promote_uri=spec.output.promote_uri,
        )

    def identity(self, data_digest: str) -> Identity:
        """What decides the result."""
        return Identity(self.request.spec_digest, data_digest, identity_settings(self.request.spec))

    def adopt(self, finished: FinalManifest) -> TrainerReport:
        """Report a result that was committed by another run, instead of making it again."""
        kind = self.draft.report.kind
        self.draft.report = finished.report.model_copy(update={"kind": kind, "adopted": True})
        return self.draft.report


def check_request(request: TrainerRequest) -> None:
    """Refuse a request whose digest is not that of its spec.

    Raises:
        SettingsError: operator and trainer image do not agree on what the spec means.

    """
    computed = spec_digest(request.spec)
    if computed != request.spec_digest:
        raise SettingsError(
            reason=Reason.SETTINGS_INVALID,
            message=f"the spec's digest is {computed} here and {request.spec_digest} for the operator",
            advice="Use a trainer image of the same version as the operator.",
        )


def utc_now() -> str:
    """Now in UTC, whole seconds, `2026-01-31T12:00:00Z`."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def library_versions() -> dict[str, str]:
    """Versions of the libraries that decide numbers, as far as they are installed."""
    versions = {}
    for name in _DECISIVE:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # preflight runs from an image without torch
    return versions
