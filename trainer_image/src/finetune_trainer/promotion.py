"""`promoted.json`: which artifact to serve. It names committed results only, and moves past the gates only.

Jobs that share `spec.output.promoteUri` move one pointer, so each move is a conditional write on what was read before.
A pointer never moves to a result that was committed before the one it names; the times are the S3 service's, so that
no two clocks are compared. A copy beside the artifact says that this result had its turn: a run that finds a committed
result without one finishes what a crash has left undone, and a pointer that people have set back stays there.
"""

import logging
from datetime import UTC, datetime
from typing import Final, Literal

from pydantic import ValidationError

from finetune_api.base import Message
from finetune_api.conditions import Reason
from finetune_api.layout import OutputLayout
from finetune_api.report import MetricResult
from finetune_trainer.errors import InfrastructureError, SettingsError
from finetune_trainer.manifest import FinalManifest
from finetune_trainer.storage import Storage

LOG: Final = logging.getLogger(__name__)
TRIES: Final = 20
"""Each lost try is another job's success."""
NO_ETAG: Final = '"00000000000000000000000000000000"'
"""The ETag of nothing."""


class Headline(Message):
    """The most important metric of a promoted result."""

    name: str
    baseline: float
    tuned: float


class Pointer(Message):
    """Content of `promoted.json`."""

    schema_version: Literal["1"] = "1"
    uri: str
    """The artifact's prefix."""
    digest: str
    """SHA-256 over its files, as in its manifest."""
    kind: Literal["adapter", "model"] = "adapter"
    base_model: str
    """What an adapter is to be loaded on."""
    namespace: str
    name: str
    """The FinetuneJob."""
    spec_digest: str
    epoch: int
    """The attempt that made it."""
    committed_at: str
    """By the S3 service's clock; decides between jobs that promote at the same time."""
    promoted_at: str = ""
    headline: Headline | None = None
    previous: str | None = None
    """The artifact that this one took the place of."""


def promote(
    storage: Storage, layout: OutputLayout, manifest: FinalManifest, *, base_model: str, now: str
) -> str | None:
    """Move the pointer to a committed result that may be promoted; once, however often this is called.

    Returns:
        The pointer's URI, None where it was not moved: the gates kept the result out, or a later one came first.

    Raises:
        SettingsError: OutputOccupied; what is there is no pointer.
        InfrastructureError: the pointer cannot be moved now; the next run does it.

    """
    mine = _pointer(manifest, base_model)
    if mine is None:
        return None
    turn = layout.promotion(manifest.epoch)
    if storage.read(turn) is not None:
        return layout.promoted
    moved = _move(storage, layout.promoted, mine.model_copy(update={"promoted_at": now}))
    if moved is None:
        LOG.warning("%s names a result that was committed later; it stays", layout.promoted)
        return None
    storage.write_if_absent(turn, _content(moved))
    return layout.promoted


def check_pointer(storage: Storage, layout: OutputLayout) -> None:
    """Find out before training whether this job could move the pointer; nothing is changed.

    `preflight.json` must be there.

    Raises:
        SettingsError: what is there is no pointer, or the service does not heed `If-Match`.
        CredentialsError: the job's identity may not write there.

    """
    _current(layout.promoted, storage.read(layout.promoted))
    # First on an object of our own: a service that ignores the condition overwrites it.
    for uri in (layout.preflight, layout.promoted):
        if storage.write_if_match(uri, b"{}", NO_ETAG):
            raise SettingsError(
                reason=Reason.SETTINGS_INVALID,
                message="spec.storage: the S3 service overwrites an object in spite of `If-Match`",
                advice="Use a service with conditional writes; two jobs could undo each other's promotion.",
            )


def service_time(seconds: float) -> str:
    """A time of the S3 service as the pointer holds it; later ones sort behind."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _pointer(manifest: FinalManifest, base_model: str) -> Pointer | None:
    report = manifest.report
    if report.artifact is None or report.artifact.promoted_uri is None or manifest.committed_at is None:
        return None
    metrics = report.evaluation.metrics if report.evaluation is not None else []
    return Pointer(
        uri=report.artifact.uri,
        digest=report.artifact.digest,
        kind=report.artifact.kind,
        base_model=base_model,
        namespace=manifest.namespace,
        name=manifest.name,
        spec_digest=manifest.spec_digest,
        epoch=manifest.epoch,
        committed_at=manifest.committed_at,
        headline=_headline(metrics[0]) if metrics else None,
    )


def _headline(metric: MetricResult) -> Headline:
    return Headline(name=metric.name, baseline=metric.baseline, tuned=metric.tuned)


def _move(storage: Storage, uri: str, mine: Pointer) -> Pointer | None:
    """The pointer that names our result now; None where a later result has the place."""
    for _ in range(TRIES):
        found = storage.read_tagged(uri)
        current = _current(uri, found.content if found else None)
        if current is not None and current.uri == mine.uri:
            return current
        if current is not None and _order(current) > _order(mine):
            return None
        wanted = mine.model_copy(update={"previous": current.uri if current else None})
        content = _content(wanted)
        if storage.write_if_match(uri, content, found.etag) if found else storage.write_if_absent(uri, content):
            LOG.info("%s names %s now", uri, wanted.uri)
            return wanted
    raise InfrastructureError(
        reason=Reason.STORAGE_UNAVAILABLE,
        message=f"{uri} changed {TRIES} times while this result was to be promoted",
        advice="Nothing to do: the next attempt promotes it.",
    )


def _current(uri: str, content: bytes | None) -> Pointer | None:
    if content is None:
        return None
    try:
        return Pointer.model_validate_json(content)
    except ValidationError:
        raise SettingsError(
            reason=Reason.OUTPUT_OCCUPIED,
            message=f"spec.output.promoteUri: {uri} holds something that is no pointer to an artifact",
            advice="Choose another spec.output.promoteUri, or delete that object.",
        ) from None


def _order(pointer: Pointer) -> tuple[str, str]:
    """When the result was committed; the URI decides within what the service's clock resolves."""
    return pointer.committed_at, pointer.uri


def _content(pointer: Pointer) -> bytes:
    return pointer.model_dump_json(exclude_none=True, indent=2).encode()
