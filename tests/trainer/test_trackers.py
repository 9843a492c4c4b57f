"""Steps reach trackers once and in order; a tracker that is down is told in a sentence, and touches no run."""

from dataclasses import dataclass, field
from pathlib import Path

import pytest
from run_results import steps
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from finetune_trainer.metrics_file import StepRecord, read_steps
from finetune_trainer.trackers.__main__ import main, send
from finetune_trainer.trackers.feed import FileFeed, Reading


@dataclass
class Kept:
    """A tracker that remembers what it was told."""

    told: list[int] = field(default_factory=list)
    closed: bool = False

    def step(self, record: StepRecord) -> None:
        self.told.append(record.step)

    def flush(self) -> None: ...

    def close(self) -> None:
        self.closed = True


@dataclass
class Growing:
    """A feed that has more steps at every reading."""

    readings: list[Reading]

    def read(self) -> Reading:
        return self.readings.pop(0)


@pytest.fixture
def metrics(tmp_path: Path) -> Path:
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(record.model_dump_json(by_alias=False) + "\n" for record in steps(40)))
    return path


def test_a_line_that_was_cut_off_is_left_out_and_a_step_done_again_counts_once(metrics: Path) -> None:
    content = metrics.read_text()
    again = content.splitlines()[11].replace('"loss":', '"loss":9')
    found = read_steps(content + again + "\n" + content.splitlines()[0][:40])
    assert [record.step for record in found] == list(range(1, 41))
    assert found[11].loss > 9


def test_a_growing_run_is_sent_step_by_step_once_and_closed_at_its_end() -> None:
    whole, kept = steps(40), Kept()
    feed = Growing([Reading([], False), Reading(whole[:10], False), Reading(whole[:25], False), Reading(whole, True)])
    assert send(feed, kept, pause=lambda: None) == 40
    assert (kept.told, kept.closed) == (list(range(1, 41)), True)


def test_a_file_is_finished_with_its_last_step(metrics: Path) -> None:
    assert FileFeed(metrics).read().finished
    metrics.write_text("\n".join(metrics.read_text().splitlines()[:39]))
    assert not FileFeed(metrics).read().finished


def test_tensorboard_shows_every_number_of_every_step(metrics: Path, tmp_path: Path) -> None:
    assert main([str(metrics), "--to", "tensorboard", "--log-dir", str(tmp_path / "runs")]) == 0
    shown = EventAccumulator(str(tmp_path / "runs"))
    shown.Reload()
    wanted = steps(40)
    assert {tag: len(shown.Scalars(tag)) for tag in shown.Tags()["scalars"]} == {
        "train/loss": 40, "train/grad_norm": 40, "train/learning_rate": 40, "train/tokens": 40,
        "train/tokens_per_second": 40, "validation/loss": 4,
    }  # fmt: skip
    assert [event.step for event in shown.Scalars("train/loss")] == [record.step for record in wanted]
    assert [event.value for event in shown.Scalars("train/loss")] == pytest.approx([each.loss for each in wanted])


def test_mlflow_keeps_every_step(metrics: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tracking = pytest.importorskip("mlflow.tracking", reason="MLflow is not installed: extra [trackers]")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    store = (tmp_path / "mlruns").as_uri()
    assert main([str(metrics), "--to", "mlflow", "--tracking-uri", store, "--project", "desk", "--name", "one"]) == 0
    client = tracking.MlflowClient(store)
    (run,) = client.search_runs([client.get_experiment_by_name("desk").experiment_id])
    assert (run.info.run_name, run.info.status) == ("one", "FINISHED")
    history = client.get_metric_history(run.info.run_id, "train/loss")
    assert sorted(each.step for each in history) == list(range(1, 41))


def test_wandb_keeps_every_step_offline(metrics: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb", reason="W&B is not installed: extra [trackers]")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    assert main([str(metrics), "--to", "wandb", "--project", "desk"]) == 0
    assert list(tmp_path.rglob("*.wandb"))


def test_a_tracker_that_cannot_be_reached_is_told_in_a_sentence(
    metrics: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("no directory")
    assert main([str(metrics), "--to", "tensorboard", "--log-dir", str(tmp_path / "file" / "runs")]) == 1
    said = capsys.readouterr().err
    assert said.startswith("TensorBoard: ")
    assert said.count("\n") == 1


def test_a_source_that_is_not_there_is_told_in_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "none.jsonl"), "--to", "tensorboard", "--log-dir", str(tmp_path)]) == 1
    assert "none.jsonl" in capsys.readouterr().err
