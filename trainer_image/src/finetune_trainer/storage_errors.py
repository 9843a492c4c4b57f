"""What S3 and the network can answer, as the trainer's errors.

    no such bucket                          SettingsError       BucketNotFound
    403, unknown or wrong key, no identity  CredentialsError    AccessDenied
    no room in the bucket or the service    InfrastructureError StorageUnavailable
    another object than was listed          InfrastructureError StorageUnavailable
    no connection, TLS, 5xx, the rest       InfrastructureError StorageUnavailable

Messages name the action, the bucket and the key. The server's own text stays out: some services repeat the
signed request in it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from urllib.parse import urlsplit

from boto3.exceptions import Boto3Error
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, PartialCredentialsError

from finetune_api.conditions import Reason
from finetune_trainer.errors import CredentialsError, InfrastructureError, SettingsError, TrainerError

_BAD_KEYS: Final = {
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "ExpiredToken",
    "InvalidToken",
    "TokenRefreshRequired",
}
_DENIED: Final = {"AccessDenied", "403", "Forbidden", "AllAccessDisabled"}
_FULL: Final = {"507", "QuotaExceeded", "XMinioAdminBucketQuotaExceeded", "XMinioStorageFull"}
"""What Ceph (with a status of 403) and MinIO say; Amazon's S3 has no quota."""
_REPLACED: Final = {"PreconditionFailed", "412"}


@contextmanager
def translated(action: str, uri: str) -> Iterator[None]:
    """Run S3 calls; what they raise leaves as a TrainerError about `action` on `uri`."""
    try:
        yield
    except ClientError as error:
        raise _from_answer(error, action, uri) from error
    except (NoCredentialsError, PartialCredentialsError) as error:
        raise CredentialsError(
            reason=Reason.ACCESS_DENIED,
            message=f"cannot {action} {uri}: the pod has no S3 identity",
            advice="Set spec.storage.credentials, or spec.storage.serviceAccountName for workload identity.",
        ) from error
    except (BotoCoreError, Boto3Error) as error:
        raise _unavailable(action, uri, f"{type(error).__name__}{_where(error)}") from error


def error_code(error: ClientError) -> str:
    """Read the service's word for what went wrong, the HTTP status where it has none."""
    return str(error.response.get("Error", {}).get("Code", ""))


def _from_answer(error: ClientError, action: str, uri: str) -> TrainerError:
    code = error_code(error)
    bucket = uri.removeprefix("s3://").partition("/")[0]
    if code == "NoSuchBucket":
        return SettingsError(
            reason=Reason.BUCKET_NOT_FOUND,
            message=f"cannot {action} {uri}: bucket {bucket!r} does not exist",
            advice="Correct the bucket in the URI, or create it.",
        )
    if code in _BAD_KEYS:
        return CredentialsError(
            reason=Reason.ACCESS_DENIED,
            message=f"cannot {action} {uri}: S3 does not accept the access key or its secret ({code})",
            advice="Correct the keys in the Secret that spec.storage.credentials names.",
        )
    if code in _DENIED:
        return CredentialsError(
            reason=Reason.ACCESS_DENIED,
            message=f"cannot {action} {uri}: S3 answers 403; either the identity may not {action} there, "
            f"or bucket {bucket!r} does not exist",
            advice=f"Check the bucket's name, and allow this identity to {action} in it.",
        )
    if code in _FULL:
        return InfrastructureError(
            reason=Reason.STORAGE_UNAVAILABLE,
            message=f"cannot {action} {uri}: there is no room in bucket {bucket!r} ({code})",
            advice="Free room there or raise its quota; the next attempt goes on from the last checkpoint.",
        )
    if code in _REPLACED:
        return InfrastructureError(
            reason=Reason.STORAGE_UNAVAILABLE,
            message=f"cannot {action} {uri}: it was replaced meanwhile",
            advice="Upload new content under a new name; jobs may be reading the old.",
        )
    return _unavailable(action, uri, code)


def _where(error: Exception) -> str:
    """The endpoint that was not reached, where botocore tells of it; without the request, which may be signed."""
    url = urlsplit(str(getattr(error, "kwargs", {}).get("endpoint_url", "")))
    return f" at {url.scheme}://{url.netloc}" if url.netloc else ""


def _unavailable(action: str, uri: str, cause: str) -> InfrastructureError:
    return InfrastructureError(
        reason=Reason.STORAGE_UNAVAILABLE,
        message=f"cannot {action} {uri}: {cause}",
        advice="Check spec.storage.endpoint, its certificate (spec.storage.caBundle), and the service.",
    )
