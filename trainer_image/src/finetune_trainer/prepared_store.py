"""Prepared data in S3, under the digest of all that decides it: a second job on the same data finds it there.

    <root>/<key>/used.json        written at every use; it is written first, so that nothing lies there without it
    <root>/<key>/<files>
    <root>/<key>/manifest.json    the files with their digests, written last

What nobody used for 30 days is removed by the next preflight that shares the root. Losing it costs time only.
"""

import hashlib
import json
import logging
import re
from collections.abc import Container, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Final, Literal

from pydantic import ValidationError

from finetune_api.base import Message
from finetune_api.spec.job import FinetuneJobSpec
from finetune_trainer.context import Context
from finetune_trainer.data.store_index import REPORT
from finetune_trainer.errors import TrainerError
from finetune_trainer.fetch import SPLITS
from finetune_trainer.manifest import FileEntry, file_sha256, files_digest, is_intact, upload_files
from finetune_trainer.room import check_room
from finetune_trainer.storage import Storage, StoredObject

LOG: Final = logging.getLogger(__name__)

PREPARATION_VERSION: Final = "2"
"""Raised whenever the same data would be prepared otherwise than before."""
UNUSED_SECONDS: Final = 30 * 24 * 3600
_MANIFEST: Final = "manifest.json"
_USED: Final = "used.json"
_KEY: Final = re.compile(r"[0-9a-f]{64}")
_NOT_CONTENT: Final = {"on_bad_row", "max_bad_share", "show_rows", "prepared_uri"}
"""Settings of `spec.data` that leave the prepared data as it is."""


class StoreManifest(Message):
    """The commit of one store."""

    schema_version: Literal["1"] = "1"
    files: list[FileEntry]

    @property
    def digest(self) -> str:
        """Over the files that training reads; the report beside them may be worded anew."""
        return files_digest([entry for entry in self.files if entry.name != REPORT])


def store_key(spec: FinetuneJobSpec, data_digest: str, model_directory: Path, max_tokens: int) -> str:
    """64 hex digits over everything that decides the prepared data.

    Args:
        spec: Its sections `data`, `objective` and, of `evaluation`, `maxRows` count; a data set's weight does not.
        data_digest: Of the files' content.
        model_directory: Its tokenizer files count, not its weights.
        max_tokens: What sequences are cut to.

    """
    weights = {split: {"__all__": {"weight"}} for split in SPLITS}
    data = spec.data.model_dump(mode="json", exclude={**dict.fromkeys(_NOT_CONTENT, True), **weights})
    decides = {
        "version": PREPARATION_VERSION,
        "libraries": [version(name) for name in ("tokenizers", "transformers", "jinja2")],
        "data_digest": data_digest,
        "data": data,
        "objective": spec.objective.model_dump(mode="json", exclude={"preference"}),
        "max_rows": spec.evaluation.max_rows,
        "max_tokens": max_tokens,
        "tokenizer": _tokenizer_digests(model_directory),
    }
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()


def store_root(context: Context) -> str:
    """Prefix of all stores that this job shares, ending in /."""
    own = context.request.spec.data.prepared_uri
    return f"{own.rstrip('/')}/" if own else context.layout.prepared_stores


def find_store(storage: Storage, uri: str) -> StoreManifest | None:
    """The manifest of a complete store; None where there is none."""
    content = storage.read(uri + _MANIFEST)
    try:
        return None if content is None else StoreManifest.model_validate_json(content)
    except ValidationError:
        LOG.warning("%s cannot be read as a manifest; the data is prepared anew", uri + _MANIFEST)
        return None


def mark_used(context: Context, uri: str) -> None:
    """Note that somebody uses a store, now."""
    request = context.request
    used = {"at": context.clock(), "by": f"{request.namespace}/{request.name}"}
    context.storage.write(uri + _USED, json.dumps(used).encode())


def download_store(
    storage: Storage, uri: str, manifest: StoreManifest, directory: Path, names: Container[str] | None = None
) -> bool:
    """Copy a store, or the named ones of its files; whether every one is that of the manifest."""
    entries = [entry for entry in manifest.files if names is None or entry.name in names]
    wanted = [StoredObject(uri + entry.name, entry.size) for entry in entries]
    present = {item.uri: item.size for item in storage.list_objects(uri)}
    # A damaged store is no reason to fail: the data is prepared again.
    if any(present.get(item.uri) != item.size for item in wanted):
        LOG.warning("%s lacks files; the data is prepared anew", uri)
        return False
    check_room(wanted, directory)
    paths = storage.download(wanted, directory)
    intact = all(is_intact(entry, path) for entry, path in zip(entries, paths, strict=True))
    if not intact:
        LOG.warning("%s is damaged; the data is prepared anew", uri)
    return intact


def upload_store(storage: Storage, directory: Path, uri: str) -> StoreManifest:
    """Upload a store that was marked as used, its manifest last."""
    names = sorted(path.name for path in directory.iterdir())
    manifest = StoreManifest(files=upload_files(storage, directory, uri, names))
    storage.write(uri + _MANIFEST, manifest.model_dump_json(indent=1).encode())
    return manifest


def remove_unused(storage: Storage, root: str, own: str, now: float) -> None:
    """Remove stores that were not written to for 30 days, never the one at `own`.

    Only folders that look like a store and have the mark of one are touched. A store that cannot be removed is logged
    and stays.

    Args:
        storage: Where to look.
        root: Prefix of all stores.
        own: Prefix of this job's store.
        now: Seconds since 1970.

    """
    try:
        for uri, objects in _stores(storage.list_objects(root), root).items():
            if uri != own and now - max(item.modified for item in objects) > UNUSED_SECONDS:
                LOG.info("%s was not used for 30 days and is removed", uri)
                # The manifest first: what is half removed must not look whole.
                storage.delete(sorted((item.uri for item in objects), key=lambda each: not each.endswith(_MANIFEST)))
    except TrainerError as error:
        LOG.warning("unused prepared data under %s is not removed: %s", root, error.message)


def _stores(objects: list[StoredObject], root: str) -> Mapping[str, list[StoredObject]]:
    """Objects by store."""
    found: dict[str, list[StoredObject]] = {}
    for item in objects:
        key, _, name = item.uri.removeprefix(root).partition("/")
        if _KEY.fullmatch(key) and name and "/" not in name:
            found.setdefault(f"{root}{key}/", []).append(item)
    return {uri: items for uri, items in found.items() if any(item.name == _USED for item in items)}


def _tokenizer_digests(directory: Path) -> dict[str, str]:
    """Digests of the files of a model directory that are not its config or weights."""
    names = {path.name for path in directory.iterdir()} - {"config.json", "generation_config.json"}
    mine = sorted(name for name in names if not name.endswith((".safetensors", ".safetensors.index.json")))
    return {name: file_sha256(directory / name) for name in mine}
