"""A run that is stopped, killed, damaged or overtaken ends with the adapter of an unbroken run, or does no harm."""

import signal

from trainer_run import WHOLE, Bench, Finished, add_rows

from finetune_api.conditions import Reason
from finetune_api.exit_codes import ExitCode

ADAPTER = "adapter/adapter_model.safetensors"


def test_stopped_then_killed_then_damaged_the_adapter_is_bit_for_bit_that_of_an_unbroken_run(
    finished: Finished,
) -> None:
    bench = finished.bench
    bench.put_rows("broken", add_rows(120))
    work = bench.validated("broken", **WHOLE)
    root = "s3://team/broken/out/"

    first = bench.start(work)
    first.wait_for(lambda progress: progress.checkpoint is not None)
    first.stop(signal.SIGTERM)
    first.stop(signal.SIGTERM)  # a second one is harmless
    stopped = first.wait()
    assert (stopped.code, stopped.report.outcome) == (ExitCode.PREEMPTED, "preempted")
    saved = stopped.report.checkpoint.step
    assert 0 < saved < WHOLE["training"]["maxSteps"]

    second = bench.start(work)
    second.wait_for(lambda progress: progress.checkpoint is not None and progress.checkpoint.step > saved)
    second.stop(signal.SIGKILL)
    second.wait()
    newest = max(key for key in bench.s3.keys(f"{root}checkpoints/") if key.startswith("0002-"))
    damaged = f"broken/out/checkpoints/{newest.partition('/')[0]}/state.safetensors"
    bench.s3.put(damaged, b"\0" + bench.s3.get(f"s3://team/{damaged}")[1:])

    third = bench.start(work).wait()
    assert third.code == ExitCode.SUCCESS, third.output
    assert "is damaged" in third.output
    assert saved <= third.report.training.resumed_from_step < WHOLE["training"]["maxSteps"]
    assert bench.s3.get(f"{root}runs/0003/{ADAPTER}") == bench.s3.get(f"{finished.root}runs/0001/{ADAPTER}")
    metrics = bench.s3.get(f"{root}runs/0003/metrics.jsonl").splitlines()
    assert len(metrics) == WHOLE["training"]["maxSteps"]


APART = {**WHOLE, "checkpoint": {"everySteps": 10, "uri": "s3://team/zombie-checkpoints"}}


def test_a_zombie_stops_before_it_commits_anything_more(bench: Bench) -> None:
    bench.put_rows("zombie", add_rows(120))
    zombie = bench.start(bench.validated("zombie", **APART))
    zombie.wait_for(lambda progress: progress.checkpoint is not None)
    bench.s3.put("zombie/out/epochs/0002.json", b"{}")
    outcome = zombie.wait()
    assert (outcome.code, outcome.report.failure.reason) == (ExitCode.INFRASTRUCTURE, Reason.SUPERSEDED)
    assert outcome.report.epoch == 1
    assert "manifest.json" not in bench.s3.keys("s3://team/zombie/out/")
    assert outcome.report.checkpoint.uri.startswith(APART["checkpoint"]["uri"] + "/checkpoints/0001-")
    assert outcome.report.checkpoint.size_bytes > 1000


def test_checkpoints_of_another_spec_are_refused_naming_the_settings_that_differ(bench: Bench) -> None:
    other = bench.preflight("zombie", **{**APART, "training": {"seed": 7, "learningRate": 0.001}})
    assert (other.code, other.report.failure.reason) == (ExitCode.SETTINGS, Reason.OUTPUT_OCCUPIED)
    message = other.report.failure.message
    assert message.startswith("spec.checkpoint.uri is in use: s3://team/zombie-checkpoints/")
    assert "training.learningRate was 0.01 and is 0.001" in message
    assert "training.seed was not set and is 7" in message
