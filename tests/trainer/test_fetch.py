"""Which objects of a bucket are a data set."""

from pathlib import Path
from typing import cast

import pytest

from finetune_api.conditions import Reason
from finetune_api.spec.data import Data
from finetune_trainer.errors import DataError
from finetune_trainer.fetch import fetch_data, list_data
from finetune_trainer.storage import Storage, StoredObject

BUCKET = ["rows.jsonl", "rows.xlsx", "set/b.csv.gz", "set/a.parquet", "set/README.md", "set/_SUCCESS", "set/deep/c.csv"]


class Bucket:
    """Lists objects, and downloads nothing into files."""

    def __init__(self, *keys: str) -> None:
        self.objects = [StoredObject(f"s3://team/{key}", 1) for key in sorted([*BUCKET, *keys])]

    def list_objects(self, uri: str) -> list[StoredObject]:
        return [item for item in self.objects if item.uri.startswith(uri)]

    def download(self, objects: list[StoredObject], directory: Path) -> list[Path]:
        directory.mkdir(parents=True, exist_ok=True)
        targets = [directory / item.name for item in objects]
        for target in targets:
            target.write_bytes(b"")
        return targets


def fetch(bucket: Bucket, key: str, path: Path) -> list[str]:
    data = Data.model_validate({"train": [{"uri": f"s3://team/{key}"}]})
    storage = cast("Storage", bucket)
    ((_, files),) = fetch_data(storage, data, list_data(storage, data), path).files.train
    return [uri.removeprefix("s3://team/") for uri, _ in files]


def test_a_prefix_is_its_data_files_in_order_of_name(tmp_path: Path) -> None:
    assert fetch(Bucket(), "set/", tmp_path) == ["set/a.parquet", "set/b.csv.gz"]


def test_a_file_is_itself(tmp_path: Path) -> None:
    assert fetch(Bucket("rows.jsonl.gz"), "rows.jsonl", tmp_path) == ["rows.jsonl"]


@pytest.mark.parametrize(
    ("key", "named"), [("rows.xlsx", "rows.xlsx"), ("set/", "set/rows.jsonl.bz2")], ids=["a file", "under a prefix"]
)
def test_rows_that_could_not_be_read_are_refused_not_passed_over(tmp_path: Path, key: str, named: str) -> None:
    with pytest.raises(DataError) as caught:
        fetch(Bucket("set/rows.jsonl.bz2"), key, tmp_path)
    assert caught.value.reason == Reason.DATASET_INVALID
    assert f"spec.data.train[0].uri: s3://team/{named} is of no known format" in caught.value.message
    assert ".parquet" in caught.value.advice


def test_a_prefix_without_data_says_what_data_files_are(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        fetch(Bucket("notes/README.md"), "notes/", tmp_path)
    assert caught.value.reason == Reason.DATASET_NOT_FOUND
    assert "no data file under s3://team/notes/" in caught.value.message
    assert ".csv" in caught.value.advice
