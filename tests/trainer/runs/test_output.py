"""Whose output it is: what another job, or another output, has left there is refused by name and stays."""

import dataclasses
from pathlib import Path

import pytest
from checkpointing import at, attempt, save
from s3_server import S3Server

from finetune_api.conditions import Reason
from finetune_api.layout import OutputLayout
from finetune_trainer.errors import SettingsError
from finetune_trainer.manifest import Identity
from finetune_trainer.output import claim_checkpoints, finished_result, remove_checkpoints
from finetune_trainer.storage import Storage


def test_a_refusal_names_the_settings_that_changed(storage: Storage, layout: OutputLayout, tmp_path: Path) -> None:
    was, now = (Identity(f"{rate}", "data", {"training": {"learningRate": rate}}) for rate in (0.0002, 0.001))
    save(dataclasses.replace(attempt(storage, layout, tmp_path), identity=was), at(10))
    with pytest.raises(SettingsError, match=r"training.learningRate was 0.0002 and is 0.001") as caught:
        finished_result(storage, layout, now)
    assert caught.value.reason is Reason.OUTPUT_OCCUPIED
    assert caught.value.message.startswith("spec.output.uri is in use")
    with pytest.raises(SettingsError, match=r"its data was data and is now other"):
        finished_result(storage, layout, Identity(was.spec_digest, "other"))


def test_a_place_for_checkpoints_belongs_to_one_output(s3: S3Server, storage: Storage, layout: OutputLayout) -> None:
    shared = f"{layout.root}/shared"
    first, second = (OutputLayout.of(f"{layout.root}/{name}", checkpoint_uri=shared) for name in ("a", "b"))
    claim_checkpoints(storage, first)
    claim_checkpoints(storage, first)
    with pytest.raises(SettingsError, match=f"spec.checkpoint.uri is in use: .* holds checkpoints of {first.root}"):
        claim_checkpoints(storage, second)
    remove_checkpoints(storage, second)
    assert s3.keys(shared) == ["/checkpoints/owner.json"], "what another output owns stays"
    remove_checkpoints(storage, first)
    claim_checkpoints(storage, second)


def test_checkpoints_go_where_the_spec_says_and_a_refusal_names_that_field(
    s3: S3Server, storage: Storage, layout: OutputLayout, tmp_path: Path
) -> None:
    apart = OutputLayout.of(layout.root, checkpoint_uri=f"{layout.root}-apart")
    assert save(attempt(storage, apart, tmp_path), at(10)).uri == f"{layout.root}-apart/checkpoints/0001-00000010/"
    assert s3.keys(layout.root + "/") == ["epochs/0001.json"]
    with pytest.raises(SettingsError, match=r"spec.checkpoint.uri is in use"):
        finished_result(storage, apart, Identity("another", "data"))
