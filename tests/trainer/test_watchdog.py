"""A process in which nothing moves is ended with a report; one that is slow is left alone."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from finetune_api.conditions import Reason
from finetune_api.digest import spec_digest
from finetune_api.exit_codes import ExitCode
from finetune_api.report import TrainerReport
from finetune_api.request import ENVIRONMENT_VARIABLE, TrainerRequest
from finetune_api.spec.job import FinetuneJobSpec
from finetune_trainer.signals import StopSignal
from finetune_trainer.watchdog import Place, Pulse, Watchdog, hung, places

ROOT = Path(__file__).parents[2]


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_whoever_asks_for_a_stop_request_has_moved():
    clock = Clock()
    pulse = Pulse(clock)
    stop = StopSignal(pulse.beat)
    for ask in (stop.should_stop, stop.check):
        clock.now += 100
        assert pulse.silence() == 100
        ask()
        assert pulse.silence() == 0


@pytest.mark.parametrize(
    ("modules", "phase"),
    [
        (["loss", "objectives.language", "loop", "tune"], " in training step"),
        (["data.items", "objectives.language", "loop", "tune"], " in input"),
        (["loss", "objectives.language", "follow", "loop", "tune"], " in validation"),
        (["evaluate.generate", "evaluate.answers", "tune"], " in evaluation"),
        (["evaluate.generate", "evaluate.answers", "evaluate.following", "follow", "loop"], " in evaluation"),
        (["storage", "checkpoint", "tune", "loop"], " in checkpoint"),
        (["storage", "publish", "attempt"], " in upload"),
        (["storage", "fetch", "attempt"], " in download"),
        (["model", "tune"], " in model loading"),
        (["methods.attach", "tune"], ""),
    ],
)
def test_the_fault_names_the_phase_and_the_innermost_place(modules, phase):
    fault = hung(1800, [Place(module, "work", 7) for module in modules])
    assert fault.message == f"nothing moved for 30 minutes{phase} ({modules[0]}.work, line 7)"
    assert (fault.reason, fault.exit_code) == (Reason.HUNG, ExitCode.INFRASTRUCTURE)
    assert "stallMinutes" in fault.advice


def test_a_stack_without_a_function_of_the_trainer_has_no_place():
    assert list(places(sys._getframe())) == []
    assert hung(60, []).message == "nothing moved for 1 minutes"


def test_a_pulse_that_beats_is_left_alone_and_one_that_stops_is_told_once():
    clock, told, is_told, looks = Clock(), [], threading.Event(), threading.Semaphore(0)

    class Watched(Pulse):
        def silence(self):
            looks.release()
            return super().silence()

    def on_hang(fault):
        told.append(fault.reason)
        is_told.set()

    pulse = Watched(clock)
    with Watchdog(pulse, 10, on_hang):
        for _ in range(3):
            clock.now += 9
            assert looks.acquire(timeout=60)
            pulse.beat()
        assert told == []
        clock.now += 10
        assert is_told.wait(60)
    assert told == [Reason.HUNG]


def test_a_watchdog_is_seen_at_once_however_long_the_limit():
    """Who waits for it must not take a process for one that is still starting."""
    seen = threading.Event()
    with Watchdog(Pulse(), 3600, lambda _fault: None, on_look=seen.set):
        assert seen.wait(60)


def test_a_training_step_that_hangs_ends_the_process_with_its_report(tmp_path):
    spec = FinetuneJobSpec.model_validate(
        {
            "model": {"uri": "s3://team/base"},
            "data": {"train": [{"uri": "s3://team/train/"}]},
            "training": {"guards": {"stallMinutes": 0.2}},
            "output": {"uri": "s3://team/out"},
            "storage": {"endpoint": "http://127.0.0.1:9"},
            "resources": {"gpus": {"count": 0}, "cpu": "1"},
        }
    )
    request = TrainerRequest(
        kind="train", namespace="team", name="hangs", uid="uid", spec=spec, spec_digest=spec_digest(spec)
    )
    path = ["operator/src", "trainer_image/src", "tests/support"]
    environment = os.environ | {
        "PYTHONPATH": ":".join(str(ROOT / part) for part in path),
        ENVIRONMENT_VARIABLE: request.model_dump_json(exclude_none=True),
    }
    message = tmp_path / "message"
    command = [
        sys.executable, str(ROOT / "tests/support/hanging_run.py"), "train", f"--work-dir={tmp_path / 'work'}",
        f"--credentials-dir={tmp_path}", f"--ca-file={tmp_path / 'none'}", f"--termination-message-path={message}",
    ]  # fmt: skip
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == ExitCode.INFRASTRUCTURE, done.stderr
    report = TrainerReport.model_validate_json(message.read_text())
    assert (report.outcome, report.failure.reason, report.failure.retryable) == ("failed", Reason.HUNG, True)
    assert "in training step (gradient._loss, line " in report.failure.message
    assert "Hung: nothing moved for" in done.stderr
    assert "hanging_run.py" in done.stderr, "the stack of the main thread"
