"""Benchmarks in whole runs: from files in S3 to the report, for base, parent and tuned model."""

import json

import pytest
from science_rows import jsonl, science_rows
from trainer_run import Bench, add_rows

from finetune_api.conditions import Reason
from finetune_api.exit_codes import ExitCode

ARC = {"task": "arc_easy", "uri": "s3://team/arc/"}


@pytest.fixture(scope="module")
def benchmarked(bench: Bench) -> Bench:
    """A bucket with ARC-like questions."""
    bench.s3.put("arc/test.jsonl", jsonl(science_rows(0, 9)))
    bench.s3.put("arc/train.jsonl", jsonl(science_rows(9)))
    return bench


def test_a_job_reports_its_benchmarks_beside_its_own_metrics(benchmarked: Bench) -> None:
    benchmarked.put_rows("bench", add_rows(40))
    few_shot = {"task": "arc_challenge", "uri": "s3://team/arc", "fewShot": 2, "maxRows": 5}
    ended = benchmarked.train("bench", evaluation={"benchmarks": [ARC, few_shot]})
    assert ended.code == ExitCode.SUCCESS, ended.output
    report = json.loads(benchmarked.s3.get(ended.report.report_uri))
    easy, challenge = report["evaluation"]["benchmarks"]
    assert [easy["name"], challenge["name"]] == ["arc_easy", "arc_challenge"]
    assert easy["baseline"] * 9 == pytest.approx(round(easy["baseline"] * 9)), "nine questions"
    assert challenge["tuned"] * 5 == pytest.approx(round(challenge["tuned"] * 5)), "the first five"
    assert easy["interval"] == "tango"
    assert easy["low"] <= easy["tuned"] - easy["baseline"] <= easy["high"]
    assert report["lineage"]["benchmarkDigest.arc_easy"].startswith("sha256:")
    assert report["libraries"]["lm-eval"].startswith("0.4.")
    assert report["evaluation"]["metrics"][0]["name"] == "exact_match", "the headline is the job's own"


def test_preflight_refuses_rows_of_another_task(benchmarked: Bench) -> None:
    benchmarked.s3.put("other/validation.jsonl", jsonl(science_rows()))
    benchmarked.put_rows("misfit", add_rows(40))
    other = {"task": "hellaswag", "uri": "s3://team/other/"}
    ended = benchmarked.preflight("misfit", evaluation={"benchmarks": [ARC, other]})
    assert ended.code == ExitCode.DATA, ended.output
    assert ended.report.failure.reason == Reason.DATASET_INVALID
    assert ended.report.failure.message == (
        "spec.evaluation.benchmarks[1]: s3://team/other/validation.jsonl: there is no column 'ctx_a'"
    )
