"""Which files are a split's, by their names alone, and what is told where they are not there."""

from pathlib import Path
from typing import cast

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from science_rows import jsonl, science_rows

from finetune_api.conditions import Reason
from finetune_trainer.errors import DataError
from finetune_trainer.evaluate.task_files import fetch_task_data
from finetune_trainer.storage import Storage, StoredObject

FIELD = "spec.evaluation.benchmarks[0]"
ROOT = "s3://team/bench/"


class Bucket:
    """Objects by what stands behind the last slash of `ROOT`."""

    def __init__(self, objects: dict[str, bytes]) -> None:
        self.objects = {ROOT + key: body for key, body in sorted(objects.items())}

    def list_objects(self, uri: str) -> list[StoredObject]:
        return [StoredObject(key, len(body)) for key, body in self.objects.items() if key.startswith(uri)]

    def download(self, objects: list[StoredObject], directory: Path) -> list[Path]:
        directory.mkdir(parents=True, exist_ok=True)
        targets = [directory / item.name for item in objects]
        for item, target in zip(objects, targets, strict=True):
            target.write_bytes(self.objects[item.uri])
        return targets


def fetch(objects: dict[str, bytes], tmp_path: Path, *splits: str, uri: str = ROOT):
    return fetch_task_data(cast("Storage", Bucket(objects)), uri, splits, tmp_path / "work", FIELD)


ROW = b'{"q": 1}\n'


@pytest.mark.parametrize("name", ["test.jsonl", "test-00000-of-00002.jsonl", "test.ndjson"])
def test_a_file_belongs_to_the_split_that_its_name_begins_with(name, tmp_path):
    assert fetch({name: ROW}, tmp_path, "test").splits["test"].rows == [{"q": 1}]


@pytest.mark.parametrize("name", ["test_matched.jsonl", "test.md", "latest.jsonl", "deeper/test.jsonl", "test"])
def test_other_files_are_passed_over(name, tmp_path):
    with pytest.raises(DataError) as refusal:
        fetch({name: ROW}, tmp_path, "test")
    assert refusal.value.reason == Reason.DATASET_NOT_FOUND
    assert "benchmarks[0].uri: there is no file of the split 'test' under s3://team/bench/" in refusal.value.message
    assert "test-00000-of-00001.parquet" in refusal.value.advice


def test_parts_are_joined_in_order_and_rows_know_their_place(tmp_path):
    rows = science_rows()
    parts = {"test-00001-of-00002.jsonl": jsonl(rows[7:]), "test-00000-of-00002.jsonl": jsonl(rows[:7])}
    found = fetch(parts, tmp_path, "test", uri=ROOT.rstrip("/")).splits["test"]
    assert found.rows == rows
    assert str(found.sources[7]) == f"{ROOT}test-00001-of-00002.jsonl:1"


def test_parquet_as_the_hub_has_it_gives_the_same_rows(tmp_path):
    rows = science_rows()
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "test.parquet")
    objects = {"test-00000-of-00001.parquet": (tmp_path / "test.parquet").read_bytes()}
    assert fetch(objects, tmp_path, "test").splits["test"].rows == rows


def test_the_digest_is_of_the_content_of_the_wanted_splits(tmp_path):
    files = {"test.jsonl": ROW, "train.jsonl": ROW * 2}

    def digest(objects: dict[str, bytes], *splits: str) -> str:
        return fetch(objects, tmp_path, *splits).digest

    both = digest(files, "test", "train")
    assert both == digest(files, "train", "test")
    assert both != digest(files, "test")
    assert digest(files, "test") == digest(files | {"train.jsonl": b"", "notes.txt": b"x"}, "test")
    assert digest(files, "test") != digest(files | {"test.jsonl": ROW * 3}, "test")


BROKEN = {
    "a cut line": (b'{"q": 1}\n{"q": ', Reason.DATASET_INVALID, "test.jsonl:2"),
    "no row": (b"\n", Reason.DATASET_EMPTY, "test.jsonl holds no row"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_file_is_refused_by_place(case, tmp_path):
    body, reason, message = BROKEN[case]
    with pytest.raises(DataError) as refusal:
        fetch({"test.jsonl": body}, tmp_path, "test")
    assert refusal.value.reason == reason
    assert message in refusal.value.message
