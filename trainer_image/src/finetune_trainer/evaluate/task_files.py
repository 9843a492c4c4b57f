"""The data of public benchmarks, from S3 to rows by split.

A training pod reaches no hub, so the user puts a task's files under a prefix, named as the hub names them: by split,
`test.jsonl` or `test-00000-of-00001.parquet`.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune_api.conditions import Reason
from finetune_trainer.data.problems import Problems, Source
from finetune_trainer.data.read import KNOWN, is_data_file, read_rows
from finetune_trainer.errors import DataError
from finetune_trainer.manifest import file_sha256
from finetune_trainer.room import check_room
from finetune_trainer.storage import Storage, StoredObject


@dataclass(frozen=True, slots=True)
class SplitRows:
    """One split of a task."""

    rows: list[dict[str, Any]]
    sources: list[Source]
    """Where each row stands."""


@dataclass(frozen=True, slots=True)
class TaskData:
    """What a task is asked from."""

    splits: dict[str, SplitRows]
    digest: str
    """`sha256:<hex>` over one line per file, `<split> <sha256 of the file>`, by split, then by name."""


def fetch_task_data(storage: Storage, uri: str, splits: Sequence[str], directory: Path, field: str) -> TaskData:
    """Copy and read the wanted splits; other files under the prefix are passed over.

    `field` names the benchmark in messages, `spec.evaluation.benchmarks[0]`.

    Raises:
        DataError: DatasetNotFound where a split has no file, DatasetInvalid where a row can't be read, DatasetEmpty.
        SettingsError: the scratch disk is too small.

    """
    prefix = uri.rstrip("/") + "/"
    here = [item for item in storage.list_objects(prefix) if item.uri == prefix + item.name]
    wanted = {split: [item for item in here if _is_of_split(item.name, split)] for split in splits}
    for split, objects in wanted.items():
        if not objects:
            raise _missing(f"{field}.uri: there is no file of the split {split!r} under {prefix}", split, here)
    check_room([item for objects in wanted.values() for item in objects], directory)
    digest, found = hashlib.sha256(), {}
    for split, objects in sorted(wanted.items()):
        paths = storage.download(objects, directory / split)
        digest.update("".join(f"{split} {file_sha256(path)}\n" for path in paths).encode())
        found[split] = _read(objects, paths, field)
    return TaskData(found, f"sha256:{digest.hexdigest()}")


def _is_of_split(name: str, split: str) -> bool:
    """`test.jsonl`, `test-00000-of-00002.parquet`; but `test_matched.jsonl` is of another split."""
    return re.fullmatch(rf"{re.escape(split)}(-\d+-of-\d+)?(\.\w+)+", name) is not None and is_data_file(name)


def _read(objects: Sequence[StoredObject], paths: Sequence[Path], field: str) -> SplitRows:
    problems, read = Problems(), SplitRows([], [])
    for item, path in zip(objects, paths, strict=True):
        for source, row in read_rows(item.uri, path, problems):
            read.rows.append(row)
            read.sources.append(source)
    if problems.total:
        raise DataError(
            reason=Reason.DATASET_INVALID,
            message=f"{field}: {problems.total} rows cannot be read: {'; '.join(problems.shown)}",
            advice="download the files from the hub again",
        )
    if not read.rows:
        raise DataError(
            reason=Reason.DATASET_EMPTY,
            message=f"{field}: {', '.join(item.uri for item in objects)} holds no row",
            advice="download the files from the hub again",
        )
    return read


def _missing(message: str, split: str, here: Sequence[StoredObject]) -> DataError:
    names = ", ".join(item.name for item in here[:5]) or "nothing"
    return DataError(
        reason=Reason.DATASET_NOT_FOUND,
        message=f"{message}; there is {names}",
        advice=f"upload it as {split}.jsonl, or as the hub names it, {split}-00000-of-00001.parquet; known are {KNOWN}",
    )
