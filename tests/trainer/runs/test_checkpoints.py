"""Checkpoints in a real S3: what is resumed from, what is kept, and that clean-up never costs a result."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from s3_server import S3Server

from finetune_api.conditions import Reason
from finetune_api.layout import OutputLayout
from finetune_api.report import SavedCheckpoint
from finetune_api.spec.model import Storage as StorageSpec
from finetune_trainer.checkpoint import Checkpoints
from finetune_trainer.epoch import claim
from finetune_trainer.errors import CredentialsError
from finetune_trainer.manifest import Identity
from finetune_trainer.output import checkpoints, remove_checkpoints
from finetune_trainer.state import Counters, LoopState
from finetune_trainer.storage import Storage

MINE = Identity("mine", "data")


def at(step: int) -> LoopState:
    return LoopState(Counters(step=step, plan_digest="plan"), {"adapter/a": torch.full((2,), float(step))})


@pytest.fixture
def storage(s3: S3Server, tmp_path: Path) -> Storage:
    spec = StorageSpec(endpoint=s3.endpoint)
    return Storage.connect(spec, credentials_dir=s3.credentials_dir, ca_file=tmp_path / "ca.crt", check=lambda: None)


@pytest.fixture
def layout(request: pytest.FixtureRequest) -> OutputLayout:
    return OutputLayout.of(f"s3://team/{request.node.name}")


def attempt(storage: Storage, layout: OutputLayout, work_dir: Path, *, keep: int = 2) -> Checkpoints:
    """Claim the next epoch and look after its checkpoints."""
    now = "2026-01-31T12:00:00Z"
    epoch = claim(storage, layout, MINE, now=now)
    metrics = work_dir / "metrics.jsonl"
    metrics.write_text("{}\n")
    return Checkpoints(epoch, MINE, keep, work_dir, metrics, lambda: now)


def save(checkpoints: Checkpoints, state: LoopState) -> SavedCheckpoint:
    return checkpoints.commit(checkpoints.capture(state))


def steps(storage: Storage, layout: OutputLayout) -> list[int]:
    return [found.manifest.step for found in checkpoints(storage, layout)]


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
