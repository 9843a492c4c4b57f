"""Progress is told at once when the stage changes and otherwise every few seconds."""

import io
import json
from pathlib import Path

import pytest

from finetune_api.progress import last_progress
from finetune_api.report import SavedCheckpoint
from finetune_trainer.metrics_file import read_steps
from finetune_trainer.progress_lines import INTERVAL_SECONDS
from finetune_trainer.reporter import Reporter
from finetune_trainer.steplog import StepLog


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def log(step: int) -> StepLog:
    return StepLog(
        step=step, total_steps=10, loss=0.5, grad_norm=1.0, learning_rate=1e-4, tokens=100 * step,
        weight=10.0 * step, tokens_per_second=50.0,
    )  # fmt: skip


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def out() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def reporter(out: io.StringIO, clock: Clock, tmp_path: Path) -> Reporter:
    return Reporter(out, tmp_path / "metrics.jsonl", clock)


def test_steps_within_the_interval_are_not_told_one_by_one(reporter: Reporter, out: io.StringIO, clock: Clock) -> None:
    reporter.stage("training")
    for step in range(1, 6):
        reporter.step(log(step))
    assert out.getvalue().count("\n") == 1
    clock.now += INTERVAL_SECONDS
    reporter.step(log(6))
    assert last_progress(out.getvalue()).step == 6


def test_how_steps_are_computed_is_told_at_once_and_when_it_changes(reporter: Reporter, out: io.StringIO) -> None:
    reporter.stage("rehearsing")
    for execution in ("packed", "packed", "padded"):
        reporter.execution(execution)
        reporter.step(log(1))
    told = [last_progress(line) for line in out.getvalue().splitlines()]
    assert [(each.stage, each.execution) for each in told if each] == [
        ("rehearsing", ""), ("training", "packed"), ("training", "padded"),
    ]  # fmt: skip


def test_the_time_left_is_that_of_the_steps_left(reporter: Reporter, out: io.StringIO, clock: Clock) -> None:
    reporter.step(log(4))
    assert last_progress(out.getvalue()).eta_seconds == 6 * 100 / 50


def test_a_checkpoint_is_told_at_once_and_stays_in_later_lines(
    reporter: Reporter, out: io.StringIO, clock: Clock
) -> None:
    saved = SavedCheckpoint(step=4, uri="s3://b/c/", saved_at="2026-01-31T12:00:00Z")
    reporter.checkpoint(saved)
    assert last_progress(out.getvalue()).checkpoint == saved
    reporter.stage("evaluating")
    assert last_progress(out.getvalue()).checkpoint == saved


def test_the_checkpoint_that_training_goes_on_from_stays_in_later_lines(
    reporter: Reporter, out: io.StringIO, clock: Clock
) -> None:
    reporter.resumed(40)
    reporter.stage("evaluating")
    assert last_progress(out.getvalue()).resumed_from_step == 40


def test_metrics_get_every_step(reporter: Reporter) -> None:
    for step in (1, 2, 3):
        reporter.step(log(step))
    assert [json.loads(line)["step"] for line in reporter.metrics.read_text().splitlines()] == [1, 2, 3]


def test_a_gauge_adds_to_every_line_of_the_metrics(out: io.StringIO, clock: Clock, tmp_path: Path) -> None:
    reporter = Reporter(out, tmp_path / "metrics.jsonl", clock, gauge=lambda: {"gpu_utilization": 97.0})
    reporter.step(log(1))
    assert [record.gpu_utilization for record in read_steps(reporter.metrics.read_text())] == [97.0]
