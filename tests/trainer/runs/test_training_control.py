"""Best state and early stopping from the spec to the report, through the real entry point."""

import json
import signal

from trainer_run import WHOLE, Bench, add_rows

from finetune_api.conditions import Reason
from finetune_api.exit_codes import ExitCode

CONTROL = {"training": {**WHOLE["training"], "validation": {"times": 50, "keep": "best", "patience": 3}}}
ADAPTER = "adapter/adapter_model.safetensors"


def test_a_killed_run_keeps_the_same_state_and_stops_at_the_same_step_as_an_unbroken_one(bench: Bench) -> None:
    sections = {**WHOLE, **CONTROL, "checkpoint": {"everySteps": 5}}
    whole, broken = "s3://team/best/out/", "s3://team/best-broken/out/"
    for name in ("best", "best-broken"):
        bench.put_rows(name, add_rows(120))
    straight = bench.train("best", **sections)
    assert straight.code == ExitCode.SUCCESS, straight.output
    expected = straight.report.training
    rows = [json.loads(line) for line in bench.s3.get(f"{whole}runs/0001/metrics.jsonl").splitlines()]
    measured = {row["step"]: row["validation_loss"] for row in rows if row["validation_loss"] is not None}
    best = min(measured, key=measured.get)
    assert (expected.kept_step, expected.steps) == (best, best + 3 * 2)
    assert expected.stopped_early.startswith(f"validation loss has not improved since step {best} ")
    assert straight.progress[-1].step == expected.steps

    work = bench.validated("best-broken", **sections)
    first = bench.start(work)
    first.wait_for(lambda progress: progress.checkpoint is not None)
    first.stop(signal.SIGKILL)
    first.wait()
    second = bench.run(work)
    assert second.code == ExitCode.SUCCESS, second.output
    found = second.report.training
    assert found.resumed_from_step >= 5
    assert (found.kept_step, found.steps, found.stopped_early) == (best, expected.steps, expected.stopped_early)
    assert bench.s3.get(f"{broken}runs/0002/{ADAPTER}") == bench.s3.get(f"{whole}runs/0001/{ADAPTER}")


def test_preflight_refuses_to_keep_the_best_where_nothing_tells_it(bench: Bench) -> None:
    bench.put_rows("blind", add_rows(60))
    data = {"split": {"validation": 0}}
    outcome = bench.preflight("blind", training={"validation": {"keep": "best"}}, data=data)
    assert (outcome.code, outcome.report.failure.reason) == (ExitCode.SETTINGS, Reason.SETTINGS_INVALID)
    assert "training.validation.keep needs validation rows" in outcome.report.failure.message
