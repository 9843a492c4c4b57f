"""Objects into files, in parts that are read side by side; a part of `storage`.

boto3's own `download_file` hands every quarter of a megabyte through a queue to one thread that writes. On two cores
that cost twice the processor time of what is done here, where each thread writes what it reads, and reached half the
rate (docs/speed.md).
"""

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import IncompleteReadError, ReadTimeoutError, ResponseStreamingError

from finetune_trainer.storage_errors import translated

if TYPE_CHECKING:
    from finetune_trainer.storage import StoredObject

LOG: Final = logging.getLogger(__name__)
PARALLEL_PARTS: Final = 8
"""More gain nothing on the same machine, and one connection to a distant service rarely fills a network."""
BODY_TRIES: Final = 5
"""As often as boto3 is told to send a request: it repeats one that fails, but not one whose answer breaks off."""
BROKEN_BODY: Final = (ResponseStreamingError, IncompleteReadError, ReadTimeoutError)
_PART_BYTES: Final = 16 * 2**20
_PIECE_BYTES: Final = 2**20
"""Held in memory, of each part."""


@dataclass(frozen=True, slots=True)
class _Part:
    item: "StoredObject"
    target: Path
    start: int
    end: int
    """The byte after the last."""


def download_objects(
    client: Any, objects: Sequence["StoredObject"], targets: Sequence[Path], check: Callable[[], None]
) -> None:
    """Write each object to its target.

    Args:
        client: boto3's, for S3.
        objects: As a listing shows them: their size counts.
        targets: One file for each; what is there is replaced.
        check: Called between pieces; what it raises ends all.

    Raises:
        TrainerError: As `storage` says; InfrastructureError too if an object was replaced while it was read.

    """
    for target in targets:
        target.write_bytes(b"")
    parts = [
        _Part(item, target, start, min(start + _PART_BYTES, item.size))
        for item, target in zip(objects, targets, strict=True)
        for start in range(0, item.size, _PART_BYTES)
    ]
    with ThreadPoolExecutor(PARALLEL_PARTS) as pool:
        # Of what is raised the first leaves here, and the parts that no thread has begun are given up.
        list(pool.map(lambda part: _download_part(client, part, check), parts))


def _download_part(client: Any, part: _Part, check: Callable[[], None]) -> None:
    with translated("read", part.item.uri), part.target.open("r+b") as sink:
        sink.seek(part.start)
        for _ in range(BODY_TRIES - 1):
            try:
                return _copy(client, part, sink, check)
            except BROKEN_BODY as error:
                LOG.warning("%s broke off (%s); reading on", part.item.uri, type(error).__name__)
        return _copy(client, part, sink, check)


def _copy(client: Any, part: _Part, sink: Any, check: Callable[[], None]) -> None:
    """Read on from where the file is."""
    bucket, _, key = part.item.uri.removeprefix("s3://").partition("/")
    same = {"IfMatch": f'"{part.item.etag}"'} if part.item.etag else {}
    answer = client.get_object(Bucket=bucket, Key=key, Range=f"bytes={sink.tell()}-{part.end - 1}", **same)
    # As a context manager the body would be urllib3's, whose errors are others.
    with closing(answer["Body"]) as body:
        while sink.tell() < part.end:
            check()
            piece = body.read(_PIECE_BYTES)
            if not piece:
                raise IncompleteReadError(actual_bytes=sink.tell() - part.start, expected_bytes=part.end - part.start)
            sink.write(piece)
