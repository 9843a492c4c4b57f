"""Checkpoints in a real S3: what is committed and resumed from, what is kept, and that cleaning up costs nothing."""

import dataclasses
import math
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpointing import at, attempt, save, steps
from s3_server import S3Server

from finetune_api.conditions import Reason
from finetune_api.layout import OutputLayout
from finetune_api.spec.model import Storage as StorageSpec
from finetune_trainer.epoch import Epoch
from finetune_trainer.errors import CredentialsError, DivergedError, InfrastructureError
from finetune_trainer.execution import Execution
from finetune_trainer.manifest import Identity
from finetune_trainer.output import checkpoints, remove_checkpoints
from finetune_trainer.signals import StopSignal
from finetune_trainer.storage import Storage


def test_the_newest_ones_are_kept_and_the_last_is_resumed_from(
    storage: Storage, layout: OutputLayout, tmp_path: Path
) -> None:
    saved = attempt(storage, layout, tmp_path)
    for step in (10, 20, 30):
        save(saved, at(step))
    assert steps(storage, layout) == [30, 20]
    state = saved.restore("plan")
    assert state is not None
    assert (state.counters.step, state.tensors["adapter/a"].tolist()) == (30, [30.0, 30.0])


def test_the_one_just_saved_is_kept_though_a_damaged_one_is_ahead(
    storage: Storage, layout: OutputLayout, tmp_path: Path
) -> None:
    save(attempt(storage, layout, tmp_path, keep=1), at(100))
    later = attempt(storage, layout, tmp_path, keep=1)
    save(later, at(75))
    assert steps(storage, layout) == [75]


def test_a_checkpoint_of_another_job_is_not_resumed_from(
    storage: Storage, layout: OutputLayout, tmp_path: Path
) -> None:
    saved = attempt(storage, layout, tmp_path)
    save(dataclasses.replace(saved, identity=Identity("another", "data")), at(10))
    assert saved.restore("plan") is None


HARMS = {
    "cut short": lambda content: content[:-1],
    "another byte": lambda content: bytes([content[0] ^ 1]) + content[1:],
    "empty": lambda _: b"",
    "gone": lambda _: None,
}


@pytest.mark.parametrize("file", ["state.safetensors", "counters.json", "metrics.jsonl"])
@pytest.mark.parametrize("harm", HARMS)
def test_a_damaged_checkpoint_falls_back_to_the_one_before(
    storage: Storage, layout: OutputLayout, tmp_path: Path, file: str, harm: str
) -> None:
    saved = attempt(storage, layout, tmp_path)
    save(saved, at(10))
    target = save(saved, at(20)).uri + file
    spoilt = HARMS[harm](storage.read(target))
    storage.delete([target])
    if spoilt is not None:
        storage.write(target, spoilt)
    state = saved.restore("plan")
    assert state is not None
    assert (state.counters.step, state.tensors["adapter/a"].tolist()) == (10, [10.0, 10.0])


def test_files_without_a_manifest_are_no_checkpoint(storage: Storage, layout: OutputLayout, tmp_path: Path) -> None:
    saved = attempt(storage, layout, tmp_path)
    storage.delete([save(saved, at(10)).uri + "manifest.json"])
    assert saved.restore("plan") is None


def test_the_manifest_says_how_the_state_came_about_and_the_report_how_large_it_is(
    s3: S3Server, storage: Storage, layout: OutputLayout, tmp_path: Path
) -> None:
    mine = Identity("mine", "data", {"training": {"seed": 3}})
    saved = dataclasses.replace(attempt(storage, layout, tmp_path), identity=mine)
    execution = Execution(world_size=2, packing=True, micro_batch_tokens=512)
    told = save(saved, dataclasses.replace(at(10), execution=execution))
    (found,) = checkpoints(storage, layout)
    assert found.manifest.execution == execution
    assert found.manifest.settings == mine.settings
    assert "every step seeds from (seed, step, rank)" in s3.get(told.uri + "manifest.json").decode()
    assert told.size_bytes == sum(len(s3.get(told.uri + entry.name)) for entry in found.manifest.files)
    state = saved.restore("plan")
    assert state is not None
    assert state.execution == execution


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_state_that_is_not_finite_is_never_committed(
    s3: S3Server, storage: Storage, layout: OutputLayout, tmp_path: Path, value: float
) -> None:
    state = at(10)
    state.tensors["optimizer/exp_avg/a"] = torch.tensor([0.0, value])
    with pytest.raises(DivergedError, match="optimizer/exp_avg/a is not finite after step 10"):
        save(attempt(storage, layout, tmp_path), state)
    assert s3.keys(layout.checkpoints) == []


def test_a_try_that_was_whole_can_be_repeated(storage: Storage, layout: OutputLayout, tmp_path: Path) -> None:
    saved = attempt(storage, layout, tmp_path)
    save(saved, at(10))
    save(saved, dataclasses.replace(at(10), tensors={"adapter/a": torch.zeros(2)}))
    state = saved.restore("plan")
    assert state is not None
    assert state.tensors["adapter/a"].tolist() == [0, 0]


def test_a_zombie_neither_commits_nor_removes_anything(storage: Storage, layout: OutputLayout, tmp_path: Path) -> None:
    zombie = attempt(storage, layout, tmp_path, keep=1)
    save(zombie, at(10))
    newer = attempt(storage, layout, tmp_path, keep=9)
    save(newer, at(5))
    with pytest.raises(InfrastructureError) as caught:
        save(zombie, at(20))
    zombie._prune()
    assert caught.value.reason is Reason.SUPERSEDED
    assert steps(storage, layout) == [10, 5]


def test_a_zombie_that_is_overtaken_while_it_cleans_up_removes_nothing_of_its_successor(
    storage: Storage, layout: OutputLayout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    zombie = attempt(storage, layout, tmp_path, keep=1)
    save(zombie, at(10))
    newer = attempt(storage, layout, tmp_path, keep=9)
    save(newer, at(15))
    save(newer, at(20))
    monkeypatch.setattr(Epoch, "check", lambda _: None)  # it looked just before
    zombie._prune()
    assert steps(storage, layout) == [20, 15, 10]


def test_an_attempt_that_is_overtaken_while_it_uploads_does_not_commit(
    s3: S3Server, storage: Storage, layout: OutputLayout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    zombie = attempt(storage, layout, tmp_path)
    upload = Storage.upload

    def slow(self: Storage, path: Path, uri: str) -> None:
        upload(self, path, uri)
        storage.write(layout.epoch(2), b"{}")

    monkeypatch.setattr(Storage, "upload", slow)
    with pytest.raises(InfrastructureError) as caught:
        save(zombie, at(10))
    assert caught.value.reason is Reason.SUPERSEDED
    assert len(s3.keys(layout.checkpoints)) == 3, "the files are there"
    assert steps(storage, layout) == []


def test_a_stop_request_does_not_end_the_upload_of_a_checkpoint(
    s3: S3Server, layout: OutputLayout, tmp_path: Path
) -> None:
    stop = StopSignal()
    stopping = Storage.connect(
        StorageSpec(endpoint=s3.endpoint), credentials_dir=s3.credentials_dir, ca_file=tmp_path / "ca", check=stop.check
    )
    saved = attempt(stopping, layout, tmp_path)
    stop._handle(15, None)
    upload_part = stopping._client.upload_part
    stopping._client.upload_part = lambda **part: (time.sleep(0.5), upload_part(**part))[1]
    large = {"adapter/a": torch.ones(10 * 2**20)}  # several parts
    save(saved, dataclasses.replace(at(10), tensors=large))
    assert steps(stopping, layout) == [10]


@pytest.fixture
def may_not_delete(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> Storage:
    """AWS tells of keys that it did not delete in an answer of 200, which SeaweedFS can't be made to give."""

    def refuse(**_: Any) -> dict[str, Any]:
        return {"Errors": [{"Key": "k", "Code": "AccessDenied", "Message": "Access Denied"}]}

    monkeypatch.setattr(storage._client, "delete_objects", refuse)
    return storage


def test_objects_that_were_not_deleted_are_an_error(may_not_delete: Storage) -> None:
    with pytest.raises(CredentialsError) as caught:
        may_not_delete.delete(["s3://team/a"])
    assert caught.value.reason is Reason.ACCESS_DENIED


def test_an_identity_that_may_not_delete_trains_and_finishes(
    may_not_delete: Storage, layout: OutputLayout, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    saved = attempt(may_not_delete, layout, tmp_path, keep=1)
    save(saved, at(10))
    save(saved, at(20))
    assert steps(may_not_delete, layout) == [20, 10]
    remove_checkpoints(may_not_delete, layout)
    assert "old checkpoints are not removed" in caplog.text
    assert "checkpoints are left under" in caplog.text
