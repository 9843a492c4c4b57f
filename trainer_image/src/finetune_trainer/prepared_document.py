"""`prepared.json`: what preflight decided, so that every attempt trains by the same numbers on the same rows."""

import hashlib
from typing import Final, Literal

from pydantic import Field, ValidationError

from finetune_api.base import Message
from finetune_api.conditions import Reason
from finetune_api.report import DataSummary, Estimate, PreparedData, ResolvedSetting
from finetune_trainer.context import Context
from finetune_trainer.errors import SettingsError
from finetune_trainer.fetch import DataListing
from finetune_trainer.hyperparameters import Hyperparameters

_ANEW: Final = "create the FinetuneJob anew, under another name, to go through preflight again"


class ListedObject(Message):
    """An object of a data set as S3 listed it when its content was validated."""

    uri: str
    size: int
    etag: str


class PreparedDocument(Message):
    """The whole document."""

    schema_version: Literal["1"] = "1"
    spec_digest: str
    data_digest: str
    """Of the files' content."""
    listing: list[ListedObject]
    """The same files, in order, as a listing shows them: where it is unchanged, so is the content."""
    store_uri: str
    """Prefix of the token ids."""
    store_digest: str
    """Over the files of the store that training reads."""
    settings: Hyperparameters
    """Every number that training runs by."""
    reasons: list[ResolvedSetting] = Field(default=[])
    """Those of them that the spec left open."""
    estimate: Estimate | None = None
    longest: int
    """Tokens of the longest sequence of any side."""
    data: DataSummary


def list_objects(listing: DataListing) -> list[ListedObject]:
    """A listing in the form that the document keeps."""
    return [
        ListedObject(uri=item.uri, size=item.size, etag=item.etag)
        for found in listing.values()
        for objects in found
        for item in objects
    ]


def write_document(context: Context, document: PreparedDocument) -> PreparedData:
    """Write the document; what training has to be told to find and to trust it."""
    content = document.model_dump_json(exclude_none=True, indent=2).encode()
    context.storage.write(context.layout.prepared, content)
    return PreparedData(uri=context.layout.prepared, digest=_digest(content))


def read_document(context: Context) -> PreparedDocument:
    """The document that preflight told the operator of.

    Raises:
        SettingsError: it is gone, or another one.

    """
    uri, expected = context.layout.prepared, context.request.prepared_digest
    if expected is None:
        raise _unusable("the request names no prepared.json", "use a trainer image of the same version as the operator")
    content = context.storage.read(uri)
    if content is None:
        raise _unusable(f"{uri} is gone", _ANEW)
    if _digest(content) != expected:
        raise _unusable(f"{uri} has the digest {_digest(content)}, but preflight wrote {expected}", _ANEW)
    try:
        return PreparedDocument.model_validate_json(content)
    except ValidationError:
        raise _unusable(
            f"{uri} cannot be read by this version", "use the trainer image that made it, or create the job anew"
        ) from None


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _unusable(message: str, advice: str) -> SettingsError:
    return SettingsError(reason=Reason.SETTINGS_INVALID, message=message, advice=advice)
