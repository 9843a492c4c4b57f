"""What an output prefix already holds, and whether it is this job's.

A finished result of the very same job and data is adopted, which makes a FinetuneJob safe to apply again, on
another cluster too. Anything of another job stays untouched and the job is refused.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, NoReturn

from pydantic import ValidationError

from finetune_api.base import Message
from finetune_api.conditions import Reason
from finetune_api.layout import OutputLayout
from finetune_trainer.changes import changed_settings
from finetune_trainer.errors import SettingsError, TrainerError
from finetune_trainer.manifest import CheckpointManifest, FinalManifest, Identity
from finetune_trainer.storage import Storage

LOG: Final = logging.getLogger(__name__)


class Owner(Message):
    """Content of `owner.json` beside checkpoints that lie outside their output."""

    output: str
    """`spec.output.uri`."""


@dataclass(frozen=True, slots=True)
class CommittedCheckpoint:
    """A checkpoint whose manifest was found and parsed; its files are not verified yet."""

    prefix: str
    manifest: CheckpointManifest


def finished_result(storage: Storage, layout: OutputLayout, mine: Identity) -> FinalManifest | None:
    """Find the committed result of this very job and data; None where there is none.

    Raises:
        SettingsError: OutputOccupied; the output holds a result or checkpoints of another job or other data.

    """
    content = storage.read(layout.manifest)
    if content is None:
        with _naming_checkpoint_uri(layout):
            found_checkpoints = checkpoints(storage, layout)
        for checkpoint in found_checkpoints:
            if checkpoint.manifest.identity != mine:
                field = "spec.output.uri" if layout.checkpoint_root == layout.root else "spec.checkpoint.uri"
                _refuse(checkpoint.prefix, "a checkpoint", checkpoint.manifest.identity, mine, field)
        return None
    try:
        found = FinalManifest.model_validate_json(content)
    except ValidationError:
        _refuse(layout.manifest, "an unreadable manifest", Identity("unknown", "unknown"), mine)
    if found.identity != mine:
        owner = f"the result of FinetuneJob {found.namespace}/{found.name}"
        _refuse(layout.manifest, owner, found.identity, mine)
    return found


def checkpoints(storage: Storage, layout: OutputLayout) -> list[CommittedCheckpoint]:
    """Every committed checkpoint, newest first: by step, then by epoch where two attempts saved a step."""
    found = []
    for item in storage.list_objects(layout.checkpoints):
        if item.name != "manifest.json":
            continue
        content = storage.read(item.uri)
        try:
            manifest = CheckpointManifest.model_validate_json(content or b"")
        except ValidationError:
            LOG.warning("%s cannot be read as a manifest; this checkpoint is not used", item.uri)
            continue
        found.append(CommittedCheckpoint(item.uri.removesuffix("manifest.json"), manifest))
    return sorted(found, key=lambda each: (each.manifest.step, each.manifest.epoch), reverse=True)


def remove_checkpoints(storage: Storage, layout: OutputLayout) -> None:
    """Remove checkpoints and kept measurements, once the result is committed and nothing resumes any more.

    The result stands: what cannot be removed is logged and stays. So does what another output owns.
    """
    for what, prefix in (("checkpoints", layout.checkpoints), ("measurements", layout.evaluations)):
        try:
            if prefix == layout.checkpoints and foreign_owner(storage, layout):
                continue
            storage.delete(item.uri for item in storage.list_objects(prefix))
        except TrainerError as error:
            LOG.warning("%s are left under %s: %s", what, prefix, error.message)


def claim_checkpoints(storage: Storage, layout: OutputLayout) -> None:
    """Mark `spec.checkpoint.uri` as this output's own, where it lies outside the output; it is writable then.

    Attempts of one output are fenced by their epochs, which two outputs count each for itself.

    Raises:
        SettingsError: OutputOccupied; checkpoints of another output lie there.
        TrainerError: naming the field; it cannot be written to.

    """
    if layout.checkpoint_root == layout.root:
        return
    with _naming_checkpoint_uri(layout):
        if storage.write_if_absent(layout.checkpoint_owner, _owner(layout)):
            return
        found = foreign_owner(storage, layout)
    raise SettingsError(
        reason=Reason.OUTPUT_OCCUPIED,
        message=f"spec.checkpoint.uri is in use: {layout.checkpoints} holds checkpoints of {found or 'another output'}",
        advice="Choose another spec.checkpoint.uri, or delete what is under it if nobody needs it any more.",
    )


def _owner(layout: OutputLayout) -> bytes:
    return Owner(output=layout.root).model_dump_json().encode()


def foreign_owner(storage: Storage, layout: OutputLayout) -> str:
    """The output that the checkpoints belong to, if it is not this one; empty otherwise."""
    content = storage.read(layout.checkpoint_owner) if layout.checkpoint_root != layout.root else None
    if content is None or content == _owner(layout):
        return ""
    try:
        return Owner.model_validate_json(content).output
    except ValidationError:
        return "another output"


@contextmanager
def _naming_checkpoint_uri(layout: OutputLayout) -> Iterator[None]:
    """Where checkpoints lie outside the output, let S3's errors name the field that says so."""
    try:
        yield
    except TrainerError as error:
        if layout.checkpoint_root == layout.root:
            raise
        message = f"spec.checkpoint.uri: {error.message}"
        raise type(error)(reason=error.reason, message=message, advice=error.advice) from error


def _refuse(uri: str, holds: str, theirs: Identity, mine: Identity, field: str = "spec.output.uri") -> NoReturn:
    if theirs.spec_digest == mine.spec_digest:
        difference = f"same spec, but its data was {theirs.data_digest} and is now {mine.data_digest}"
    elif theirs.settings and (changed := changed_settings(theirs.settings, mine.settings)):
        difference = changed
    else:
        difference = f"its spec digest is {theirs.spec_digest}, this job's is {mine.spec_digest}"
    raise SettingsError(
        reason=Reason.OUTPUT_OCCUPIED,
        message=f"{field} is in use: {uri} holds {holds} ({difference})",
        advice=f"Choose another {field}, or delete what is under it if nobody needs it any more.",
    )
