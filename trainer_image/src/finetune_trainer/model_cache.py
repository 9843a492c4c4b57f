"""Base models on a volume that outlives the pod, so that the next job with the same model starts without a download.

A model lies in a directory of its own, named by the digest of what S3 lists of its files (name, size, ETag): an upload
that changes one of them is another model. A directory has that name only once it is complete. Nothing is removed here
but what a killed pod has left: whoever owns the volume knows what may go, and a directory's time says when it was
last used.
"""

import hashlib
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from finetune_api.conditions import Reason
from finetune_trainer.errors import SettingsError
from finetune_trainer.room import check_room
from finetune_trainer.storage import Storage, StoredObject

LOG: Final = logging.getLogger(__name__)
_FIELD: Final = "spec.resources.modelCache"
_PARTIAL: Final = "partial-"
_ABANDONED_SECONDS: Final = 24 * 3600
"""A download that has not ended by then has lost its pod."""


def cached_model(storage: Storage, objects: Sequence[StoredObject], cache: Path) -> Path:
    """The directory in `cache` that holds these objects, each under its own name; downloaded where it is not there yet.

    Raises:
        SettingsError: the volume cannot be written, or is full.

    """
    with _told(cache):
        directory = cache / _key(objects)
        if directory.is_dir():
            LOG.info("the base model is in the cache: %s", directory.name)
            os.utime(directory)
            return directory
        _remove_abandoned(cache)
        partial = Path(tempfile.mkdtemp(prefix=_PARTIAL, dir=cache))
        try:
            partial.chmod(0o755)  # other jobs may run as another user
            check_room(objects, partial, field=_FIELD, advice="enlarge the volume, or remove models from it")
            storage.download(objects, partial)
            _publish(partial, directory)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return directory


def _publish(partial: Path, directory: Path) -> None:
    """Give a complete download its name, unless another pod was faster."""
    try:
        partial.rename(directory)
    except OSError:
        if not directory.is_dir():
            raise


def _key(objects: Sequence[StoredObject]) -> str:
    lines = "".join(f"{item.name}\t{item.size}\t{item.etag}\n" for item in sorted(objects, key=lambda item: item.name))
    return hashlib.sha256(lines.encode()).hexdigest()


def _remove_abandoned(cache: Path) -> None:
    for left in cache.glob(f"{_PARTIAL}*"):
        with suppress(FileNotFoundError):  # another pod's, which is complete by now
            if time.time() - left.stat().st_mtime > _ABANDONED_SECONDS:
                shutil.rmtree(left, ignore_errors=True)


@contextmanager
def _told(cache: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SettingsError(
            reason=Reason.SETTINGS_INVALID,
            message=f"{_FIELD}: the volume at {cache} cannot be used: {error.strerror or error}",
            advice="it must be writable by the pod's group (fsGroup 65532) from every node that jobs run on",
        ) from error
