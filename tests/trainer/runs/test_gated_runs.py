"""A run whose tuned model is better passes its gate and is promoted; one that is worse is not."""

import json
from pathlib import Path
from typing import Any

import pytest
from knowing_model import make_knowing_model
from trainer_run import Bench, Outcome, add_rows

from finetune_api.conditions import Reason
from finetune_api.exit_codes import ExitCode

BETTER: dict[str, Any] = {"metric": "loss", "op": "<", "value": 0, "relativeTo": "baseline", "use": "bound"}
"""The loss must fall, and not by chance."""
SERVED = "s3://team/gated/served/promoted.json"


def sections(**evaluation: Any) -> dict[str, dict[str, Any]]:
    return {
        "training": {"maxSteps": 12, "learningRate": 0.05},
        "evaluation": {"gates": [BETTER], "metrics": [], "fewShot": 0, "maxNewTokens": 2, **evaluation},
        "output": {"promoteUri": "s3://team/gated/served"},
    }


@pytest.fixture(scope="module")
def knowing_model(bench: Bench, tiny_model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    made = make_knowing_model(tiny_model_dir, add_rows(60), tmp_path_factory.mktemp("knowing"))
    return bench.s3.put_directory("models/knowing", made)


def taught_wrong(bench: Bench, name: str, model: str, **evaluation: Any) -> dict[str, dict[str, Any]]:
    """A job that learns wrong answers, on a base that knows the right ones that it is tested on."""
    rows = add_rows(60)
    bench.put_rows(name, [row | {"response": "never"} for row in rows[:40]])
    bench.put_rows(f"{name}-test", rows[40:])
    data = {
        "train": [{"uri": f"s3://team/{name}/data/"}],
        "validation": [{"uri": f"s3://team/{name}-test/data/"}],
        "test": [{"uri": f"s3://team/{name}-test/data/"}],
    }
    return {**sections(**evaluation), "data": data, "model": {"uri": model}}


def served(bench: Bench) -> dict[str, Any]:
    return dict(json.loads(bench.s3.get(SERVED)))


@pytest.fixture(scope="module")
def better(bench: Bench) -> Outcome:
    """A job that passes its gate; its pointer is there for those that follow."""
    bench.put_rows("better", add_rows(60))
    return bench.train("better", **sections())


def test_a_better_model_passes_its_gate_and_is_promoted(bench: Bench, better: Outcome) -> None:
    assert better.code == ExitCode.SUCCESS, better.output
    report = better.report
    (gate,) = report.evaluation.gates
    assert (gate.metric, gate.passed) == ("loss", True)
    assert gate.actual == next(metric for metric in report.evaluation.metrics if metric.name == "loss").high
    assert report.artifact.promoted_uri == SERVED
    pointer = served(bench)
    assert (pointer["name"], pointer["uri"], pointer["digest"]) == (
        "better",
        report.artifact.uri,
        report.artifact.digest,
    )
    assert pointer["baseModel"] == bench.model_uri


def test_a_worse_model_fails_its_gate_and_the_pointer_stays(bench: Bench, better: Outcome, knowing_model: str) -> None:
    before = served(bench)
    worse = bench.train("worse", **taught_wrong(bench, "worse", knowing_model))
    assert worse.code == ExitCode.SUCCESS, worse.output
    assert next(metric for metric in worse.report.evaluation.metrics if metric.name == "loss").verdict == "worse"
    assert [gate.passed for gate in worse.report.evaluation.gates] == [False]
    assert worse.report.artifact.promoted_uri is None
    assert "runs/0001/adapter/adapter_model.safetensors" in bench.s3.keys("s3://team/worse/out/")
    stored = json.loads(bench.s3.get(worse.report.report_uri))
    assert "promotedUri" not in stored["artifact"]
    assert served(bench) == before


def test_a_job_that_a_gate_fails_says_so_again_when_it_is_run_again(
    bench: Bench, better: Outcome, knowing_model: str
) -> None:
    before = served(bench)
    chosen = taught_wrong(bench, "failing", knowing_model, onGateFailure="fail")
    work = bench.validated("failing", **chosen)
    first = bench.run(work)
    assert (first.code, first.report.failure.reason) == (ExitCode.GATES_FAILED, Reason.GATES_FAILED), first.output
    assert "loss: wanted tuned - baseline < 0 at the upper end of the interval, got" in first.report.failure.message
    assert json.loads(bench.s3.get(first.report.report_uri))["outcome"] == "failed"
    keys = bench.s3.keys("s3://team/failing/out/")
    again, preflight = bench.run(work), bench.preflight("failing", **chosen)
    for later in (again, preflight):
        assert later.code == ExitCode.GATES_FAILED
        assert later.report.adopted
        assert later.report.artifact == first.report.artifact
    assert bench.s3.keys("s3://team/failing/out/") == keys
    assert served(bench) == before


def test_a_run_that_finds_a_result_promotes_what_a_crash_left_unpromoted(bench: Bench, better: Outcome) -> None:
    """The crash is played: between the manifest and the pointer there is nothing else."""
    client = bench.s3.client()
    for key in ("gated/served/promoted.json", "better/out/runs/0001/promoted.json"):
        client.delete_object(Bucket="team", Key=key)
    adopting = bench.preflight("better", **sections())
    assert adopting.code == ExitCode.SUCCESS, adopting.output
    assert adopting.report.artifact.promoted_uri == SERVED
    assert served(bench)["name"] == "better"


def test_a_gate_on_something_that_is_not_measured_is_refused_by_preflight(bench: Bench) -> None:
    bench.put_rows("unmeasured", add_rows(60))
    gates = [BETTER, {"metric": "chrf", "value": 20}]
    refused = bench.preflight("unmeasured", **sections(gates=gates, metrics=["exact_match"]))
    assert (refused.code, refused.report.failure.reason) == (ExitCode.SETTINGS, Reason.SETTINGS_INVALID)
    assert "spec.evaluation.gates[1].metric" in refused.report.failure.message
    assert "exact_match, loss, perplexity" in refused.report.failure.advice
