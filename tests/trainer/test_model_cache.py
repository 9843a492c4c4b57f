"""Base models that outlive the pod: complete or not there, downloaded once, of exactly the upload that S3 lists."""

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from finetune_api.conditions import Reason
from finetune_trainer.errors import InfrastructureError, SettingsError
from finetune_trainer.fetch import fetch_model
from finetune_trainer.storage import Storage, StoredObject

URI = "s3://team/models/tiny"
FILES = ("config.json", "model.safetensors", "tokenizer.json")


class Bucket:
    """A model; counts downloads, and breaks off in the middle of one when it is told to."""

    def __init__(self) -> None:
        self.objects = [StoredObject(f"{URI}/{name}", 3, etag=name) for name in FILES]
        self.downloads = 0
        self.breaks = False

    def list_objects(self, uri: str) -> list[StoredObject]:
        return [item for item in self.objects if item.uri.startswith(uri)]

    def download(self, objects: list[StoredObject], directory: Path) -> None:
        self.downloads += 1
        for item in objects:
            (directory / item.name).write_bytes(b"abc")
            if self.breaks:
                raise InfrastructureError(reason=Reason.STORAGE_UNAVAILABLE, message="gone", advice="wait")


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    path = tmp_path / "models"
    path.mkdir()
    return path


@pytest.fixture
def bucket() -> Bucket:
    return Bucket()


def fetch(bucket: Bucket, work_dir: Path, cache: Path) -> Path:
    work_dir.mkdir()
    return fetch_model(cast("Storage", bucket), URI, work_dir, weights=True, cache=cache)


def test_a_second_job_finds_the_model_of_the_first(bucket: Bucket, tmp_path: Path, cache: Path) -> None:
    first, second = (fetch(bucket, tmp_path / job, cache) for job in ("first", "second"))
    assert bucket.downloads == 1
    assert second == tmp_path / "second" / "model"
    assert first.resolve() == second.resolve()
    assert sorted(path.name for path in second.iterdir()) == sorted(FILES)


def test_a_changed_upload_is_another_model(bucket: Bucket, tmp_path: Path, cache: Path) -> None:
    first = fetch(bucket, tmp_path / "first", cache)
    bucket.objects[1] = replace(bucket.objects[1], etag="new")
    second = fetch(bucket, tmp_path / "second", cache)
    assert bucket.downloads == 2
    assert first.resolve() != second.resolve()


def test_a_download_that_breaks_off_leaves_nothing(bucket: Bucket, tmp_path: Path, cache: Path) -> None:
    bucket.breaks = True
    with pytest.raises(InfrastructureError):
        fetch(bucket, tmp_path / "first", cache)
    assert list(cache.iterdir()) == []
    bucket.breaks = False
    fetch(bucket, tmp_path / "second", cache)
    assert len(list(cache.iterdir())) == 1


def test_of_two_that_download_at_once_one_gives_the_name(bucket: Bucket, tmp_path: Path, cache: Path) -> None:
    class Slower(Bucket):
        def download(self, objects: list[StoredObject], directory: Path) -> None:
            super().download(objects, directory)
            fetch(bucket, tmp_path / "faster", cache)

    found = fetch(Slower(), tmp_path / "slower", cache)
    assert sorted(path.name for path in found.iterdir()) == sorted(FILES)
    assert len(list(cache.iterdir())) == 1


def test_what_a_killed_pod_left_is_removed_after_a_day(bucket: Bucket, tmp_path: Path, cache: Path) -> None:
    old, young = cache / "partial-old", cache / "partial-young"
    for each in (old, young):
        each.mkdir()
    os.utime(old, (time.time() - 25 * 3600,) * 2)
    fetch(bucket, tmp_path / "job", cache)
    assert not old.exists()
    assert young.exists()


def test_what_another_pod_completes_meanwhile_is_no_fault(
    bucket: Bucket, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = cache / "partial-gone"
    monkeypatch.setattr(Path, "glob", lambda _path, _pattern: iter([gone]))
    assert (fetch(bucket, tmp_path / "job", cache) / "config.json").exists()


def test_the_time_of_a_model_says_when_it_was_last_used(bucket: Bucket, tmp_path: Path, cache: Path) -> None:
    model = fetch(bucket, tmp_path / "first", cache).resolve()
    os.utime(model, (0, 0))
    before = time.time()
    fetch(bucket, tmp_path / "second", cache)
    assert model.stat().st_mtime >= before - 1


def test_a_full_volume_is_told_as_such(bucket: Bucket, tmp_path: Path, cache: Path) -> None:
    bucket.objects[1] = replace(bucket.objects[1], size=1 << 60)
    with pytest.raises(SettingsError) as caught:
        fetch(bucket, tmp_path / "job", cache)
    assert caught.value.message.startswith("spec.resources.modelCache: 1,152,921,504,606,846,98")
    assert "Enlarge the volume" in caught.value.advice


def test_a_volume_that_cannot_be_used_is_told_as_such(bucket: Bucket, tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        fetch(bucket, tmp_path / "job", tmp_path / "not mounted")
    assert "spec.resources.modelCache: the volume at" in caught.value.message
    assert "fsGroup" in caught.value.advice
