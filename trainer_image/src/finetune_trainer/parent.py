"""The adapter that a job goes on from: `spec.model.adapterUri`, the artifact of an earlier job.

What can contradict the spec is read from its small configuration, so preflight finds it, without torch.
"""

import json
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from finetune_api.base import Message
from finetune_api.conditions import Reason
from finetune_api.layout import OutputLayout
from finetune_api.spec.job import FinetuneJobSpec
from finetune_api.spec.training import Objective
from finetune_trainer.errors import SettingsError
from finetune_trainer.manifest import FileEntry, FinalManifest, file_sha256, files_digest, is_intact
from finetune_trainer.storage import Storage

LOG: Final = logging.getLogger(__name__)
ADAPTER_CONFIG: Final = "adapter_config.json"
ADAPTER_WEIGHTS: Final = "adapter_model.safetensors"
_MODEL_CONFIG: Final = "config.json"
"""Beside an adapter with a new head; it names the head's outputs."""
_FIELD: Final = "spec.model.adapterUri"
_RUN: Final = re.compile(r"^(?P<root>.+)/runs/\d{4,}/adapter/$")
"""The URI of an artifact of ours, under the output that its manifest lies in."""


class AdapterConfig(Message):
    """What we read of PEFT's `adapter_config.json`."""

    peft_type: str
    base_model_name_or_path: str
    r: int
    lora_alpha: int
    target_modules: list[str] | str
    task_type: str | None = None
    use_dora: bool = False
    use_rslora: bool = False

    @property
    def method(self) -> str:
        """The method of ours that makes such adapters; qlora makes the same as lora."""
        if self.use_dora:
            return "dora and rslora at once" if self.use_rslora else "dora"
        return "rslora" if self.use_rslora else "lora"


@dataclass(frozen=True, slots=True)
class ParentAdapter:
    """An adapter on disk, checked against the spec."""

    uri: str
    """Its prefix, ending in a slash."""
    directory: Path
    config: AdapterConfig
    digest: str
    """`sha256:<hex>` over its files: that of its job's artifact, where it has one."""


def fetch_parent(storage: Storage, spec: FinetuneJobSpec, work_dir: Path) -> ParentAdapter | None:
    """Copy the adapter that the spec goes on from to `work_dir`; None where it names none.

    An adapter whose job's manifest is found must have exactly the bytes that were committed.

    Raises:
        SettingsError: there is no adapter in safetensors; it contradicts the spec, its base or its manifest.

    """
    if spec.model.adapter_uri is None:
        return None
    uri = spec.model.adapter_uri.rstrip("/") + "/"
    names = (ADAPTER_CONFIG, ADAPTER_WEIGHTS, _MODEL_CONFIG)
    wanted = [item for item in storage.list_objects(uri) if item.uri == uri + item.name and item.name in names]
    missing = {ADAPTER_CONFIG, ADAPTER_WEIGHTS} - {item.name for item in wanted}
    if missing:
        raise _no_adapter(storage, uri, missing)
    directory = work_dir / "parent"
    paths = storage.download(wanted, directory)
    config = _read_config(directory / ADAPTER_CONFIG, uri)
    check_parent(config, spec)
    if (directory / _MODEL_CONFIG).exists():
        check_labels(_read_labels(directory / _MODEL_CONFIG, uri), spec.objective)
    committed = _committed_files(storage, uri)
    for path in paths:
        if path.name in committed and not is_intact(committed[path.name], path):
            raise _refused(f"{uri}{path.name} is not what its job committed", "Restore it, or name another adapter.")
    files = [FileEntry(name=path.name, size=path.stat().st_size, sha256=file_sha256(path)) for path in paths]
    return ParentAdapter(uri, directory, config, files_digest(files))


def check_parent(config: AdapterConfig, spec: FinetuneJobSpec) -> None:
    """Refuse a spec that asks for something else than the adapter is.

    `targetModules: [all-linear]` is what the API server fills in, so it contradicts nothing.

    Raises:
        SettingsError: naming the field that differs.

    """
    method, lora, base = spec.method.type, spec.method.lora, config.base_model_name_or_path
    if config.peft_type != "LORA":
        raise _refused(f"the adapter is of PEFT's type {config.peft_type}", "Name a LoRA adapter.")
    if base.rstrip("/") != spec.model.uri.rstrip("/"):
        raise _refused(
            f"the adapter was made for the base model {base}, spec.model.uri is {spec.model.uri}",
            "Name the base that the adapter was made for; if it is the same under another URI, correct "
            f"base_model_name_or_path in its {ADAPTER_CONFIG}.",
        )
    if {"qlora": "lora"}.get(method, method) != config.method:
        raise _differs("spec.method.type", method, config.method)
    if lora.rank not in (None, config.r):
        raise _differs("spec.method.lora.rank", lora.rank, config.r)
    if lora.alpha not in (None, config.lora_alpha):
        raise _differs("spec.method.lora.alpha", lora.alpha, config.lora_alpha)
    if "all-linear" not in lora.target_modules and not _same_targets(lora.target_modules, config.target_modules):
        raise _differs("spec.method.lora.targetModules", lora.target_modules, config.target_modules)


def check_labels(labels: list[str], objective: Objective) -> None:
    """Refuse an objective whose head has other outputs than the parent's, which would be taken for its own.

    Raises:
        SettingsError: it has other labels, or no head of its own.

    """
    classification = objective.classification
    if objective.type == "reward":
        wanted = ["reward"]
    elif classification is not None and classification.variant == "head":
        wanted = classification.labels
    else:
        raise _refused(
            f"the adapter has a head for {', '.join(labels[:5])}, which objective.type {objective.type} has no use for",
            "Name an adapter that was trained without a head, or choose its objective.",
        )
    if wanted != labels:
        raise _differs("spec.objective.classification.labels", wanted[:5], labels[:5])


def _same_targets(wanted: Sequence[str], found: list[str] | str) -> bool:
    return isinstance(found, list) and set(wanted) == set(found)


def _differs(field: str, wanted: Any, found: Any) -> SettingsError:
    return SettingsError(
        reason=Reason.SETTINGS_INVALID,
        message=f"{field} is {wanted}, but the adapter of {_FIELD} has {found}",
        advice=f"set {field} to that or leave it out, or go on from another adapter",
    )


def _refused(message: str, advice: str) -> SettingsError:
    return SettingsError(reason=Reason.SETTINGS_INVALID, message=f"{_FIELD}: {message}", advice=advice)


def _no_adapter(storage: Storage, uri: str, missing: set[str]) -> SettingsError:
    """The error for a prefix that is no adapter; a job's output is told from its adapter inside."""
    manifest = _manifest(storage, uri.rstrip("/"))
    if manifest is not None and manifest.report.artifact is not None:
        return _refused(f"{uri} is the output of a job, not its artifact", f"Use {manifest.report.artifact.uri}.")
    return _refused(
        f"there is no {' and '.join(sorted(missing))} under {uri}",
        "Name the artifact of an earlier job (status.artifact.uri); pickled adapters are not read. A whole model, the "
        "artifact of full and last-layers, is gone on from as spec.model.uri.",
    )


def _read_config(path: Path, uri: str) -> AdapterConfig:
    try:
        return AdapterConfig.model_validate(json.loads(path.read_bytes()))
    except (ValidationError, ValueError) as error:
        wrong = error.errors()[0]["loc"][0] if isinstance(error, ValidationError) else "no JSON"
        raise _refused(
            f"{uri}{ADAPTER_CONFIG} cannot be used ({wrong})", "Save the adapter with PEFT again."
        ) from error


def _read_labels(path: Path, uri: str) -> list[str]:
    """The outputs of a head, in order."""
    try:
        labels = json.loads(path.read_bytes())["id2label"]
        return [str(labels[str(number)]) for number in range(len(labels))]
    except (ValueError, KeyError, TypeError) as error:
        raise _refused(f"{uri}{_MODEL_CONFIG} does not name the head's outputs", "Name another adapter.") from error


def _committed_files(storage: Storage, uri: str) -> dict[str, FileEntry]:
    """What the manifest of the job that made the adapter says of its files; empty where there is none."""
    found = _RUN.match(uri)
    manifest = _manifest(storage, found["root"]) if found else None
    if manifest is None:
        LOG.info("no job's manifest is known for %s; its files are taken as they are", uri)
        return {}
    entries = {manifest.prefix + entry.name: entry for entry in manifest.files}
    return {name: entries[uri + name] for name in (ADAPTER_CONFIG, ADAPTER_WEIGHTS) if uri + name in entries}


def _manifest(storage: Storage, root: str) -> FinalManifest | None:
    content = storage.read(OutputLayout.of(root).manifest)
    try:
        return FinalManifest.model_validate_json(content) if content is not None else None
    except ValidationError:
        return None
