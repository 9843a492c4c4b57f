"""A trainer's /metrics: the newest progress at every scrape, and only where the platform asks for it."""

import io
import socket
import urllib.request

import pytest

from finetune_api.names import METRICS_PORT_VARIABLE
from finetune_api.progress import Progress
from finetune_api.report import SavedCheckpoint
from finetune_trainer.exporter import registry, serve_metrics
from finetune_trainer.progress_lines import ProgressLines


@pytest.fixture
def lines() -> ProgressLines:
    return ProgressLines(io.StringIO())


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        number: int = free.getsockname()[1]
    monkeypatch.setenv(METRICS_PORT_VARIABLE, str(number))
    return number


def test_a_scrape_tells_what_was_said_last(lines: ProgressLines) -> None:
    told = registry(lines)
    assert told.get_sample_value("finetune_trainer_stage", {"stage": "loading"}) == 1
    assert told.get_sample_value("finetune_trainer_loss") is None
    saved = SavedCheckpoint(step=40, uri="s3://out/c", saved_at="2026-01-01T00:00:00Z")
    lines.update(Progress(stage="training", step=42, total_steps=100, loss=0.5, mfu=0.4, checkpoint=saved))
    assert told.get_sample_value("finetune_trainer_stage", {"stage": "loading"}) == 0
    assert told.get_sample_value("finetune_trainer_stage", {"stage": "training"}) == 1
    names = ("step", "planned_steps", "loss", "mfu_ratio", "checkpoint_step", "checkpoint_timestamp_seconds")
    values = [told.get_sample_value(f"finetune_trainer_{name}") for name in names]
    assert values == [42, 100, 0.5, 0.4, 40, 1767225600]


def test_it_answers_on_the_port_that_the_pod_names(lines: ProgressLines, port: int) -> None:
    serve_metrics(lines)
    lines.update(Progress(stage="training", step=7, total_steps=9))
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        assert "finetune_trainer_step 7.0" in answer.read().decode()


def test_a_port_that_is_taken_is_no_reason_not_to_train(
    lines: ProgressLines, port: int, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.socket() as other:
        other.bind(("0.0.0.0", port))
        other.listen()
        serve_metrics(lines)
    assert "there are no metrics" in caplog.text
