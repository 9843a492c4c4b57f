"""Small checkpoints in a real S3, each test under a prefix of its own."""

import re
from pathlib import Path

import pytest
import torch
from s3_server import S3Server

from finetune_api.layout import OutputLayout
from finetune_api.report import SavedCheckpoint
from finetune_api.spec.model import Storage as StorageSpec
from finetune_trainer.checkpoint import Checkpoints
from finetune_trainer.epoch import claim
from finetune_trainer.manifest import Identity
from finetune_trainer.output import checkpoints
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
    return OutputLayout.of(f"s3://team/{re.sub('[^a-z0-9]+', '-', request.node.name)}")


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
