"""Several pods train one model: as one does, from one checkpoint, and they end together, whatever ends one of them.

Tolerance: the final loss of 2 and of 4 pods is that of one within 1e-5 of itself, as for every other way to cut a step
(`test_trajectories`), and the adapters' weights within 3e-5.
"""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load
from several_pods import Pods, children, free_port, start_pods
from trainer_run import Bench, Outcome, Running, add_rows

from finetune_api.conditions import Reason
from finetune_api.exit_codes import ExitCode
from finetune_api.request import TrainerRequest
from finetune_trainer.place import Place

STALL_SECONDS = 40
"""More than importing one of the libraries takes on a busy machine."""
STEPS = 40
JOB: dict[str, Any] = {
    "training": {"maxSteps": STEPS, "guards": {"stallMinutes": STALL_SECONDS / 60}},
    "checkpoint": {"everySteps": 10},
}
LONG: dict[str, Any] = {**JOB, "training": {**JOB["training"], "maxSteps": 2000}}
"""Long enough to be disturbed in the middle."""


def request(bench: Bench, name: str, nodes: int, **sections: Any) -> TrainerRequest:
    """The work order of a job that has passed its preflight."""
    bench.put_rows(name, add_rows(120))
    sections = {**sections, "resources": {"nodes": nodes}}
    return bench.validated(name, **sections)


def adapter(bench: Bench, outcome: Outcome) -> dict[str, torch.Tensor]:
    artifact = outcome.report.artifact
    assert artifact is not None
    return dict(load(bench.s3.get(artifact.uri + "adapter_model.safetensors")))


@dataclass(frozen=True)
class Together:
    """A job of several pods that has ended."""

    request: TrainerRequest
    outcomes: list[Outcome]
    claims: list[str]
    """Objects in S3 that say which attempt may write."""


def reasons(outcomes: list[Outcome]) -> list[Reason | None]:
    return [outcome.report.failure.reason if outcome.report.failure else None for outcome in outcomes]


@pytest.fixture(scope="module")
def alone(bench: Bench) -> Outcome:
    outcome = bench.run(request(bench, "alone", 1, **JOB))
    assert outcome.code == ExitCode.SUCCESS, outcome.output
    return outcome


@pytest.fixture(scope="module")
def together(bench: Bench) -> Together:
    return in_pods(bench, 2)


def in_pods(bench: Bench, nodes: int) -> Together:
    asked = request(bench, f"pods-{nodes}", nodes, **JOB)
    outcomes = start_pods(bench, asked).wait()
    return Together(asked, outcomes, bench.s3.keys(f"{asked.spec.output.uri}/epochs/"))


def slow(value: Any, name: str, minutes: float = 1) -> Any:
    """A case that `make test` takes now and then."""
    return pytest.param(value, marks=pytest.mark.slow(name=name, minutes=minutes))


def test_two_pods_train_as_one(bench: Bench, alone: Outcome, together: Together) -> None:
    assert_same(bench, alone, together)


@pytest.mark.slow(name="four pods", minutes=1)
def test_four_pods_train_as_one(bench: Bench, alone: Outcome) -> None:
    assert_same(bench, alone, in_pods(bench, 4))


def assert_same(bench: Bench, alone: Outcome, together: Together) -> None:
    outcomes = together.outcomes
    assert {outcome.code for outcome in outcomes} == {ExitCode.SUCCESS}, outcomes[0].output
    report = outcomes[0].report
    assert report.training is not None
    assert alone.report.training is not None
    assert report.training.final_loss == pytest.approx(alone.report.training.final_loss, rel=1e-5)
    for name, tensor in adapter(bench, alone).items():
        assert float((adapter(bench, outcomes[0])[name] - tensor).abs().max()) < 3e-5, name


def test_the_first_pod_alone_tells_claims_and_publishes(together: Together) -> None:
    first, second = together.outcomes
    assert [progress.stage for progress in first.progress][-1] == "verifying"
    assert second.progress == []
    assert second.report.artifact is None
    assert len(together.claims) == 1


def test_a_finished_job_is_adopted_by_all_pods(bench: Bench, together: Together) -> None:
    again, other = start_pods(bench, together.request).wait()
    assert [again.code, other.code] == [ExitCode.SUCCESS] * 2, other.output
    assert again.report.adopted
    assert again.report.artifact == together.outcomes[0].report.artifact


def begin(bench: Bench, asked: TrainerRequest) -> Pods:
    """Start pods, and wait until they train and have saved something."""
    pods = start_pods(bench, asked)
    pods.running[0].wait_for(lambda progress: progress.stage == "training" and progress.checkpoint is not None)
    return pods


@pytest.mark.parametrize("lost", [slow(0, "the first pod is killed"), 1])
def test_a_killed_rank_ends_all_and_they_go_on_together(bench: Bench, lost: int) -> None:
    name = f"killed-{lost}"
    asked = request(bench, name, 2, **LONG)
    pods = begin(bench, asked)
    pods.send(signal.SIGKILL, lost)
    outcomes = pods.wait()
    assert [outcome.code for outcome in outcomes] == [ExitCode.INFRASTRUCTURE] * 2
    assert reasons(outcomes)[lost] == Reason.INTERNAL
    assert "SIGKILL" in outcomes[lost].report.failure.message
    assert reasons(outcomes)[1 - lost] == Reason.RANK_LOST
    again = begin(bench, asked)
    for pod in again.running:
        pod.stop(signal.SIGTERM)
    resumed = again.wait()[0].report
    assert resumed.epoch == 2
    assert "resuming after step" in (again.running[0].scratch / "log").read_text()


@pytest.mark.parametrize("hung", [slow(0, "the first pod hangs", 1.5), slow(1, "the second pod hangs", 1.5)])
def test_a_rank_that_hangs_ends_all_within_the_stall_time(bench: Bench, hung: int) -> None:
    pods = begin(bench, request(bench, f"hung-{hung}", 2, **LONG))
    began = time.monotonic()
    pods.send(signal.SIGSTOP, hung)
    outcomes = pods.wait()
    assert time.monotonic() - began < 3 * STALL_SECONDS
    assert [outcome.code for outcome in outcomes] == [ExitCode.INFRASTRUCTURE] * 2
    assert reasons(outcomes)[hung] == Reason.HUNG
    assert reasons(outcomes)[1 - hung] == Reason.RANK_LOST


@pytest.mark.parametrize(
    "asked", [(0, 1), (1,), slow((0,), "the first pod is asked to stop")], ids=["all", "the second", "the first"]
)
def test_a_stop_request_stops_all_after_one_step_and_the_state_is_saved(bench: Bench, asked: tuple[int, ...]) -> None:
    """All were asked: the Job is suspended and may go on. Some were: it must begin again, all pods together."""
    pods = begin(bench, request(bench, "stopped-" + "-".join(map(str, asked)), 2, **LONG))
    for pod in asked:
        pods.running[pod].stop(signal.SIGTERM)
    outcomes = pods.wait()
    code = ExitCode.PREEMPTED if len(asked) == 2 else ExitCode.RANKS_PREEMPTED
    assert [outcome.code for outcome in outcomes] == [code] * 2, outcomes[0].output
    assert reasons(outcomes) == [Reason.PREEMPTED] * 2
    messages = [outcome.report.failure.message for outcome in outcomes if outcome.report.failure]
    assert messages[0] == messages[1]
    saved = outcomes[0].report.checkpoint
    assert saved is not None
    assert f"after step {saved.step} of" in messages[0]


def test_the_class_of_the_rank_at_fault_is_told_and_the_others_say_whose_fault_it_was(
    bench: Bench, tmp_path: Path
) -> None:
    asked = request(bench, "refused", 2, **JOB)
    wrong = tmp_path / "credentials"
    wrong.mkdir()
    for path in bench.s3.credentials_dir.iterdir():
        (wrong / path.name).write_text("wrong" + path.read_text())
    pods = start_pods(bench, asked, credentials={1: wrong})
    first, second = pods.wait()
    assert (second.code, reasons([second])) == (ExitCode.CREDENTIALS, [Reason.ACCESS_DENIED])
    assert (first.code, reasons([first])) == (ExitCode.INFRASTRUCTURE, [Reason.RANK_LOST])
    assert "rank 1 ended: AccessDenied" in first.report.failure.message


IN_ONE_POD = """
import json, signal, sys
from finetune_trainer import launch
from finetune_trainer.place import Place
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
places = lambda *_: [Place(**place) for place in json.loads(sys.argv[1])]
launch.places = lambda request, environment: places() if Place.here(environment).count == 1 else []
from finetune_trainer.command_line import main
sys.exit(main(sys.argv[2:]))
"""


def start_in_one_pod(bench: Bench, asked: TrainerRequest) -> Running:
    """Both ranks as processes of one pod, as on two GPUs, which this machine need not have."""
    port, scratch = free_port(), bench.new_scratch()
    places = [
        {"rank": rank, "count": 2, "local_rank": rank, "local_count": 2, "host": "127.0.0.1", "port": port}
        for rank in range(2)
    ]
    command = [sys.executable, "-c", IN_ONE_POD, json.dumps(places), *bench.arguments(asked, scratch)]
    with (scratch / "log").open("wb") as log:
        process = subprocess.Popen(command, env=bench.environment(asked), stdout=log, stderr=log)
    return Running(process, scratch)


def test_two_processes_of_one_pod_train_as_one_and_share_the_model_on_disk(bench: Bench, alone: Outcome) -> None:
    pod = start_in_one_pod(bench, request(bench, "one-pod", 2, **JOB))
    outcome = pod.wait()
    assert outcome.code == ExitCode.SUCCESS, outcome.output
    assert outcome.report.training.final_loss == pytest.approx(alone.report.training.final_loss, rel=1e-5)
    assert outcome.output.count("all 2 processes of this run are there") == 2
    assert not (pod.scratch / "work" / "rank-1" / "model").exists()


@pytest.mark.parametrize("local", [0, slow(1, "the second process of a pod is killed")])
def test_a_pod_that_loses_one_of_its_processes_ends_with_one_report(bench: Bench, local: int) -> None:
    pod = start_in_one_pod(bench, request(bench, f"one-pod-killed-{local}", 2, **LONG))
    pod.wait_for(lambda progress: progress.stage == "training" and progress.checkpoint is not None)
    os.kill(children(pod.process.pid)[local], signal.SIGKILL)
    outcome = pod.wait()
    assert outcome.code == ExitCode.INFRASTRUCTURE
    assert f"rank {local} of 2 ended without a report: signal SIGKILL" in outcome.report.failure.message


def test_a_pod_of_several_processes_saves_when_it_is_asked_to_stop(bench: Bench) -> None:
    pod = start_in_one_pod(bench, request(bench, "one-pod-stopped", 2, **LONG))
    pod.wait_for(lambda progress: progress.stage == "training" and progress.checkpoint is not None)
    pod.stop(signal.SIGTERM)
    outcome = pod.wait()
    assert outcome.code == ExitCode.PREEMPTED, outcome.output
    assert outcome.report.checkpoint is not None
    assert f"after step {outcome.report.checkpoint.step} of" in outcome.report.failure.message


def test_gpus_that_a_pod_cannot_see_are_told_by_one_report(bench: Bench) -> None:
    asked = request(bench, "no-gpus", 1, **JOB)
    resources = asked.spec.resources.model_copy(
        update={"gpus": asked.spec.resources.gpus.model_copy(update={"count": 2})}
    )
    outcome = bench.run(asked.model_copy(update={"spec": asked.spec.model_copy(update={"resources": resources})}))
    assert (outcome.code, reasons([outcome])) == (ExitCode.INFRASTRUCTURE, [Reason.GPU_NOT_VISIBLE])


def test_a_place_survives_the_environment() -> None:
    place = Place(3, 8, 1, 2, "tune-train-0.tune-train", 29400)
    assert Place.here(place.environment()) == place
    assert Place.here({}) == Place()
