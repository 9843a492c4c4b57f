"""S3, the trainer's only outside system.

Works with any service that speaks S3. Checksum trailers are off, because several services refuse them:
integrity is our own SHA-256 in the manifests, checked on every read that matters. What boto3 raises never
leaves this module; `storage_errors` has the translation.
"""

import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import boto3
from boto3.s3.transfer import TransferConfig, create_transfer_manager
from botocore.config import Config
from botocore.exceptions import ClientError

from finetune_api.conditions import Reason
from finetune_api.spec.model import Storage as StorageSpec
from finetune_trainer.errors import CredentialsError, SettingsError
from finetune_trainer.ranged_download import BODY_TRIES, BROKEN_BODY, PARALLEL_PARTS, download_objects
from finetune_trainer.storage_errors import error_code, translated

LOG: Final = logging.getLogger(__name__)
DELETE_BATCH: Final = 1000
"""The most keys that one DeleteObjects call takes."""
_CHANGED: Final = ("PreconditionFailed", "412", "ConditionalRequestConflict", "409", "NoSuchKey", "404")
"""What services answer where an object is not, or no more, the one that a conditional write replaces."""
_UPLOAD: Final = TransferConfig(multipart_chunksize=16 * 2**20, max_concurrency=8)
PARALLEL_FILES: Final = 4
"""Small files that are read side by side, or large ones that are sent."""
_POLL_SECONDS: Final = 0.2
"""How often an upload asks whether it is to stop."""


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One object as a listing shows it."""

    uri: str
    size: int
    """Bytes."""
    etag: str = ""
    """The service's mark of the content: another content has another one."""
    modified: float = 0.0
    """When it was last written, in seconds since 1970 by the service's clock."""

    @property
    def name(self) -> str:
        """The part of the key after the last slash."""
        return self.uri.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class TaggedContent:
    """A small object's content, and the service's mark of it."""

    content: bytes
    etag: str


@dataclass(frozen=True, slots=True)
class OpenUpload:
    """A multipart upload that was begun and neither completed nor aborted."""

    uri: str
    upload_id: str


class _Done:
    """Subscribes to a transfer (`s3transfer.subscribers`), and tells when it has ended, however it did."""

    def __init__(self) -> None:
        self.event = threading.Event()

    def on_done(self, **_: Any) -> None:
        self.event.set()


class Storage:
    """Reads and writes objects by their `s3://` URI.

    Every method raises SettingsError(BucketNotFound), CredentialsError(AccessDenied) or
    InfrastructureError(StorageUnavailable); a missing object is a return value, for the caller to judge.
    """

    def __init__(self, client: Any, check: Callable[[], None]) -> None:
        self._client = client
        self._check = check

    @classmethod
    def connect(
        cls, spec: StorageSpec, *, credentials_dir: Path, ca_file: Path, check: Callable[[], None]
    ) -> "Storage":
        """Make a client for the spec; nothing is called yet.

        Args:
            spec: Endpoint, region and addressing.
            credentials_dir: The mounted Secret, one file per key. Without one, boto3's own chain finds
                the pod's workload identity.
            ca_file: Authority to trust; used where it exists.
            check: Called while bytes flow; what it raises ends the download or upload.

        Raises:
            CredentialsError: The spec names a Secret that lacks a key.
            SettingsError: The spec names a CA bundle that is not there.

        """
        if spec.ca_bundle and not ca_file.exists():
            raise SettingsError(
                reason=Reason.SETTINGS_INVALID,
                message=f"spec.storage.caBundle: key {spec.ca_bundle.key!r} is not in ConfigMap "
                f"{spec.ca_bundle.config_map_name!r}",
                advice="Put the PEM bundle under that key.",
            )
        style = "path" if spec.path_style else "virtual"
        client = boto3.client(
            "s3",
            endpoint_url=spec.endpoint,
            region_name=spec.region,
            verify=str(ca_file) if ca_file.exists() else None,
            config=Config(
                s3={"addressing_style": style},
                retries={"mode": "adaptive", "total_max_attempts": BODY_TRIES},
                connect_timeout=10,
                read_timeout=60,
                max_pool_connections=max(PARALLEL_PARTS, PARALLEL_FILES * _UPLOAD.max_concurrency),
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
            **_static_keys(spec, credentials_dir),
        )
        return cls(client, check)

    def unstoppable(self) -> "Storage":
        """The same storage, for transfers that a stop request must not end: those that save what was done."""
        return Storage(self._client, lambda: None)

    def list_objects(self, prefix: str) -> list[StoredObject]:
        """Every object under a prefix, in order of key."""
        bucket, key = split_uri(prefix)
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=key)
        with translated("list", prefix):
            found = [item for page in pages for item in page.get("Contents", [])]
        return [
            StoredObject(
                f"s3://{bucket}/{item['Key']}",
                item["Size"],
                item.get("ETag", "").strip('"'),
                item["LastModified"].timestamp(),
            )
            for item in found
        ]

    def download(self, objects: Sequence[StoredObject], directory: Path) -> list[Path]:
        """Stream objects into a directory, several at once, each under its own name.

        Returns:
            The files' paths, in the order of the objects.

        """
        directory.mkdir(parents=True, exist_ok=True)
        targets = [directory / item.name for item in objects]
        download_objects(self._client, objects, targets, self._check)
        return targets

    def upload(self, path: Path, uri: str) -> None:
        """Stream a file to an object."""
        bucket, key = split_uri(uri)
        done = _Done()
        with (
            translated("write", uri),
            path.open("rb") as source,
            # Leaving by an exception aborts what is under way. `check` cannot be called while bytes flow, as it is for
            # downloads: botocore takes whatever it raises there for a broken connection, and tries again.
            create_transfer_manager(self._client, _UPLOAD) as manager,
        ):
            future = manager.upload(source, bucket, key, subscribers=[done])
            while not done.event.wait(_POLL_SECONDS):
                self._check()
            future.result()

    def read(self, uri: str) -> bytes | None:
        """Read a small object; None where there is none."""
        found = self.read_tagged(uri)
        return found.content if found is not None else None

    def read_range(self, uri: str, start: int, length: int) -> bytes:
        """Read a part of an object that is there; less where it ends before."""
        bucket, key = split_uri(uri)
        with translated("read", uri):
            return self._content(Bucket=bucket, Key=key, Range=f"bytes={start}-{start + length - 1}").content

    def write(self, uri: str, content: bytes) -> None:
        """Write a small object, replacing what is there."""
        bucket, key = split_uri(uri)
        with translated("write", uri):
            self._client.put_object(Bucket=bucket, Key=key, Body=content)

    def write_if_absent(self, uri: str, content: bytes) -> bool:
        """Write a small object unless one is there already; whether it holds this content now.

        A request that is retried after its answer was lost finds its own object: equal content counts as
        written.
        """
        bucket, key = split_uri(uri)
        with translated("write", uri):
            try:
                self._client.put_object(Bucket=bucket, Key=key, Body=content, IfNoneMatch="*")
            except ClientError as error:
                if error_code(error) not in ("PreconditionFailed", "412"):
                    raise
                return self.read(uri) == content
        return True

    def read_tagged(self, uri: str) -> TaggedContent | None:
        """Read a small object with the mark of its content, for `write_if_match`; None where there is none."""
        bucket, key = split_uri(uri)
        with translated("read", uri):
            try:
                return self._content(Bucket=bucket, Key=key)
            except ClientError as error:
                if error_code(error) in ("NoSuchKey", "404"):
                    return None
                raise

    def _content(self, **request: str) -> TaggedContent:
        """Content of an object. Boto3 repeats a request that fails, but not one whose answer breaks off half way."""
        for _ in range(BODY_TRIES - 1):
            try:
                return self._content_once(**request)
            except BROKEN_BODY as error:
                LOG.warning("the answer broke off (%s); reading again", type(error).__name__)
        return self._content_once(**request)

    def _content_once(self, **request: str) -> TaggedContent:
        answer = self._client.get_object(**request)
        return TaggedContent(bytes(answer["Body"].read()), answer["ETag"])

    def write_if_match(self, uri: str, content: bytes, etag: str) -> bool:
        """Replace a small object unless it was changed since `etag` was read; whether it holds this content now.

        As with `write_if_absent`, a request that is retried after its answer was lost counts as written.
        """
        bucket, key = split_uri(uri)
        with translated("write", uri):
            try:
                self._client.put_object(Bucket=bucket, Key=key, Body=content, IfMatch=etag)
            except ClientError as error:
                if error_code(error) not in _CHANGED:
                    raise
                return self.read(uri) == content
        return True

    def delete(self, uris: Iterable[str]) -> None:
        """Remove objects; those already gone are fine."""
        targets = [split_uri(uri) for uri in uris]
        for start in range(0, len(targets), DELETE_BATCH):
            batch = targets[start : start + DELETE_BATCH]
            bucket = batch[0][0]
            with translated("delete", f"s3://{bucket}/{batch[0][1]}"):
                keys = [{"Key": key} for _, key in batch]
                answer = self._client.delete_objects(Bucket=bucket, Delete={"Objects": keys, "Quiet": True})
                if refused := answer.get("Errors"):  # told one by one in an answer of 200
                    raise ClientError({"Error": refused[0]}, "DeleteObjects")

    def open_uploads(self, prefix: str) -> list[OpenUpload]:
        """Multipart uploads under a prefix that are under way, or were left behind."""
        bucket, key = split_uri(prefix)
        pages = self._client.get_paginator("list_multipart_uploads").paginate(Bucket=bucket, Prefix=key)
        with translated("list uploads", prefix):
            found = [item for page in pages for item in page.get("Uploads", [])]
        return [OpenUpload(f"s3://{bucket}/{item['Key']}", item["UploadId"]) for item in found]

    def abort_upload(self, upload: OpenUpload) -> None:
        """Give up a multipart upload, and the room that its parts take; one that is gone is fine."""
        bucket, key = split_uri(upload.uri)
        with translated("abort the upload of", upload.uri):
            try:
                self._client.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=upload.upload_id)
            except ClientError as error:
                if error_code(error) not in ("NoSuchUpload", "404"):
                    raise


def split_uri(uri: str) -> tuple[str, str]:
    """Bucket and key of an `s3://` URI."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key


def _static_keys(spec: StorageSpec, directory: Path) -> dict[str, str]:
    """boto3's arguments for keys from a Secret; empty where the pod's own identity is to be used."""
    arguments = {
        "aws_access_key_id": "AWS_ACCESS_KEY_ID",
        "aws_secret_access_key": "AWS_SECRET_ACCESS_KEY",
        "aws_session_token": "AWS_SESSION_TOKEN",
    }
    keys = {
        argument: (directory / name).read_text().strip()
        for argument, name in arguments.items()
        if (directory / name).exists()
    }
    required = [name for argument, name in list(arguments.items())[:2] if not keys.get(argument)]
    if required and (spec.credentials or keys):
        secret = spec.credentials.secret_name if spec.credentials else directory.name
        raise CredentialsError(
            reason=Reason.ACCESS_DENIED,
            message=f"Secret {secret!r} (spec.storage.credentials) has no value for {' and '.join(required)}",
            advice="Put AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY into the Secret.",
        )
    return keys
