"""The base model and the data sets, from S3 to the work directory.

Only the files that a model directory in safetensors format consists of are taken; pickled weights and code
never reach the disk.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from finetune_api.conditions import Reason
from finetune_api.spec.data import Data, Dataset
from finetune_trainer.data.read import KNOWN, is_data_file, looks_like_data
from finetune_trainer.data.stream import DatasetFiles
from finetune_trainer.errors import DataError, SettingsError
from finetune_trainer.manifest import file_sha256
from finetune_trainer.model_cache import cached_model
from finetune_trainer.model_files import WEIGHTS_INDEX, check_model_files, check_weights_index
from finetune_trainer.room import check_room
from finetune_trainer.storage import Storage, StoredObject

_DESCRIPTION: Final = frozenset(
    {
        "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "tokenizer.model",
        "special_tokens_map.json", "added_tokens.json", "vocab.json", "vocab.txt", "merges.txt",
        "spiece.model", "chat_template.jinja", "chat_template.json", WEIGHTS_INDEX,
    }
)  # fmt: skip
"""Files that say what the model is; enough for the tokenizer."""

SPLITS: Final = ("train", "validation", "test")

NamedFile = tuple[str, Path]
"""An object's URI, to name it in messages, and its copy on disk."""

DataListing = dict[str, list[list[StoredObject]]]
"""By split, in the spec's order of data sets: the objects of each, in order of name."""


@dataclass(frozen=True)
class FetchedData:
    """The data sets on disk."""

    files: DatasetFiles
    digest: str
    """`sha256:<hex>` over one line per file, `<split> <sha256 of the file>`; splits in the order train,
    validation, test, data sets in the spec's order, files by name."""


def fetch_model(storage: Storage, uri: str, work_dir: Path, *, weights: bool, cache: Path | None = None) -> Path:
    """Copy a model directory, or find it in the cache.

    Args:
        storage: Where to read.
        uri: `spec.model.uri`.
        work_dir: Where to make the directory `model`.
        weights: False leaves the weights out; that they exist is checked either way.
        cache: A volume of models; `model` then leads there.

    Raises:
        SettingsError: ModelNotFound, ModelInvalid, the disk is too small, or the cache cannot be used.

    """
    prefix = uri.rstrip("/") + "/"
    present = [item for item in storage.list_objects(prefix) if item.uri == prefix + item.name]
    if not present:
        raise SettingsError(
            reason=Reason.MODEL_NOT_FOUND,
            message=f"spec.model.uri: there is nothing under {prefix}",
            advice="Upload a Hugging Face model directory there, or correct the URI.",
        )
    check_model_files({item.name for item in present}, f"spec.model.uri: {prefix}")
    wanted = [item for item in present if is_model_file(item.name, weights=weights)]
    directory = work_dir / "model"
    if cache is not None:
        directory.symlink_to(cached_model(storage, wanted, cache))
    else:
        check_room(wanted, work_dir)
        storage.download(wanted, directory)
    check_weights_index(directory, f"spec.model.uri: {prefix}")
    return directory


def is_model_file(name: str, *, weights: bool = True) -> bool:
    """Whether a file of this name is taken from a model directory, which never holds folders."""
    return name in _DESCRIPTION or (weights and "/" not in name and name.endswith(".safetensors"))


def list_data(storage: Storage, data: Data) -> DataListing:
    """Every object of every data set, as S3 lists them now.

    Raises:
        DataError: DatasetNotFound, or an object whose format is not known.

    """
    return {
        split: [
            _objects_of(dataset.uri, storage.list_objects(dataset.uri), f"spec.data.{split}[{index}].uri")
            for index, dataset in enumerate(getattr(data, split))
        ]
        for split in SPLITS
    }


def fetch_data(storage: Storage, data: Data, listing: DataListing, work_dir: Path) -> FetchedData:
    """Copy every data set and take the digest of what was copied.

    Raises:
        SettingsError: The scratch disk is too small.

    """
    check_room([item for found in listing.values() for objects in found for item in objects], work_dir)
    digest = hashlib.sha256()
    splits: dict[str, list[tuple[Dataset, list[NamedFile]]]] = {}
    for split in SPLITS:
        splits[split] = []
        for index, objects in enumerate(listing[split]):
            paths = storage.download(objects, work_dir / "data" / f"{split}-{index}")
            files = list(zip((item.uri for item in objects), paths, strict=True))
            splits[split].append((getattr(data, split)[index], files))
            digest.update("".join(f"{split} {file_sha256(path)}\n" for _, path in files).encode())
    return FetchedData(files=DatasetFiles(**splits), digest=f"sha256:{digest.hexdigest()}")


def _objects_of(uri: str, listed: Sequence[StoredObject], field: str) -> list[StoredObject]:
    """The object that a URI names, or the data files of a prefix, without what lies in folders below it."""
    if not uri.endswith("/"):
        found = [item for item in listed if item.uri == uri]
        unreadable = [item for item in found if not is_data_file(item.name)]
    else:
        here = [item for item in listed if item.uri == uri + item.name]
        found = [item for item in here if is_data_file(item.name)]
        # Notes and checksums beside the data are passed over; rows passed over in silence would be missed by nobody.
        unreadable = [item for item in here if looks_like_data(item.name)]
    if unreadable:
        raise DataError(
            reason=Reason.DATASET_INVALID,
            message=f"{field}: {unreadable[0].uri} is of no known format by its name",
            advice=f"Upload it as one of {KNOWN}.",
        )
    if not found:
        what = "no data file under" if uri.endswith("/") else "no object"
        raise DataError(
            reason=Reason.DATASET_NOT_FOUND,
            message=f"{field}: there is {what} {uri}",
            advice=f"Upload the data there, or correct the URI; a prefix must end in /. Data files are {KNOWN}.",
        )
    return found
