"""Bad input is found by preflight, ends with its own exit code, and the message says what to do."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from s3_server import write_credentials
from trainer_run import Bench, add_rows

from finetune_api.conditions import Reason
from finetune_api.exit_codes import ExitCode

Sections = dict[str, dict[str, Any]]


class Case(NamedTuple):
    prepare: Callable[[Bench], Sections]
    """Spoils something; returns the sections of the spec that differ."""
    code: ExitCode
    reason: Reason
    mentions: str


def missing_dataset(bench: Bench) -> Sections:
    return {"data": {"train": [{"uri": "s3://team/nowhere/rows.jsonl"}]}}


def missing_prefix(bench: Bench) -> Sections:
    return {"data": {"train": [{"uri": "s3://team/models/"}]}}


def broken_line(bench: Bench) -> Sections:
    bench.s3.put("bad/broken.jsonl", b'{"instruction": "a", "response": "b"}\n{"instruction": \n')
    return {"data": {"train": [{"uri": "s3://team/bad/broken.jsonl"}]}}


def empty_dataset(bench: Bench) -> Sections:
    bench.s3.put("bad/empty.jsonl", b"")
    return {"data": {"train": [{"uri": "s3://team/bad/empty.jsonl"}]}}


def answer_too_long(bench: Bench) -> Sections:
    rows = [json.dumps({"instruction": f"row {number}", "response": "long " * 200}) for number in range(40)]
    return {"data": {"train": [{"uri": bench.s3.put("bad/long.jsonl", "\n".join(rows).encode())}]}}


def long_examples(bench: Bench) -> Sections:
    rows = [json.dumps({"instruction": f"row {number}", "response": "long " * 15}) for number in range(60)]
    uri = bench.s3.put("bad/examples.jsonl", "\n".join(rows).encode())
    return {"data": {"train": [{"uri": uri}]}, "evaluation": {"fewShot": 8}}


def missing_model(bench: Bench) -> Sections:
    return {"model": {"uri": "s3://team/models/nothing"}}


def no_model_directory(bench: Bench) -> Sections:
    bench.s3.put("models/text/readme.txt", b"not a model")
    return {"model": {"uri": "s3://team/models/text"}}


def pickled_weights(bench: Bench) -> Sections:
    for name in ("config.json", "pytorch_model.bin"):
        bench.s3.put(f"models/pickled/{name}", b"{}")
    return {"model": {"uri": "s3://team/models/pickled"}}


def missing_bucket(bench: Bench) -> Sections:
    return {"output": {"uri": "s3://no-such-bucket/out"}}


def missing_checkpoint_bucket(bench: Bench) -> Sections:
    return {"checkpoint": {"uri": "s3://no-such-bucket/checkpoints"}}


def checkpoints_of_another(bench: Bench) -> Sections:
    bench.s3.put("bad/shared/checkpoints/owner.json", b'{"output": "s3://team/theirs"}')
    return {"checkpoint": {"uri": "s3://team/bad/shared"}}


def unreachable_storage(bench: Bench) -> Sections:
    return {"storage": {"endpoint": "http://127.0.0.1:9"}}


CASES = {
    "missing data set": Case(missing_dataset, ExitCode.DATA, Reason.DATASET_NOT_FOUND, "spec.data.train[0].uri"),
    "prefix without jsonl": Case(missing_prefix, ExitCode.DATA, Reason.DATASET_NOT_FOUND, "s3://team/models/"),
    "broken line": Case(broken_line, ExitCode.DATA, Reason.DATASET_INVALID, "s3://team/bad/broken.jsonl:2"),
    "empty data set": Case(empty_dataset, ExitCode.DATA, Reason.DATASET_EMPTY, "s3://team/bad/empty.jsonl"),
    "answer cut off": Case(answer_too_long, ExitCode.DATA, Reason.DATASET_INVALID, "s3://team/bad/long.jsonl:"),
    "worked examples too long": Case(
        long_examples, ExitCode.SETTINGS, Reason.SETTINGS_INVALID, "evaluation.fewShot lower"
    ),
    "missing model": Case(missing_model, ExitCode.SETTINGS, Reason.MODEL_NOT_FOUND, "spec.model.uri"),
    "no model directory": Case(no_model_directory, ExitCode.SETTINGS, Reason.MODEL_INVALID, "config.json"),
    "pickled weights": Case(pickled_weights, ExitCode.SETTINGS, Reason.MODEL_INVALID, "safetensors"),
    # SeaweedFS answers 403 for a bucket that the identity has no right on, existing or not.
    "missing bucket": Case(missing_bucket, ExitCode.CREDENTIALS, Reason.ACCESS_DENIED, "'no-such-bucket'"),
    "missing bucket for checkpoints": Case(
        missing_checkpoint_bucket, ExitCode.CREDENTIALS, Reason.ACCESS_DENIED, "spec.checkpoint.uri: cannot"
    ),
    "checkpoints of another output": Case(
        checkpoints_of_another,
        ExitCode.SETTINGS,
        Reason.OUTPUT_OCCUPIED,
        "spec.checkpoint.uri is in use: s3://team/bad/shared/checkpoints/ holds checkpoints of s3://team/theirs",
    ),
    "no connection": Case(
        unreachable_storage, ExitCode.INFRASTRUCTURE, Reason.STORAGE_UNAVAILABLE, "spec.storage.endpoint"
    ),
}


@pytest.fixture(autouse=True, scope="module")
def _good_rows(bench: Bench) -> None:
    bench.put_rows("bad", add_rows(60))


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_preflight_names_what_is_wrong(bench: Bench, case: Case) -> None:
    outcome = bench.preflight("bad", **case.prepare(bench))
    failure = outcome.report.failure
    assert (outcome.code, failure.reason) == (case.code, case.reason), outcome.output
    assert case.mentions in f"{failure.message} {failure.advice}"
    assert "Traceback" not in outcome.output


@pytest.mark.parametrize(("key", "secret"), [("team-key", "wrong-secret"), ("nobody", "wrong-secret")])
def test_wrong_credentials_are_refused_without_repeating_them(
    bench: Bench, tmp_path: Path, key: str, secret: str
) -> None:
    credentials = write_credentials(tmp_path, (key, secret))
    outcome = bench.run(bench.request("bad", "preflight"), credentials)
    assert (outcome.code, outcome.report.failure.reason) == (ExitCode.CREDENTIALS, Reason.ACCESS_DENIED)
    assert secret not in outcome.output + outcome.message.decode()


def test_a_secret_without_its_keys_is_named(bench: Bench, tmp_path: Path) -> None:
    outcome = bench.run(bench.request("bad", "preflight"), tmp_path)
    assert outcome.code == ExitCode.CREDENTIALS
    assert "AWS_SECRET_ACCESS_KEY" in outcome.report.failure.message


def test_training_refuses_data_that_changed_by_one_byte(bench: Bench) -> None:
    bench.put_rows("changed", add_rows(60))
    request = bench.validated("changed")
    validated, before = bench.digest("changed"), bench.s3.keys("s3://team/changed/out")
    rows = bench.s3.get("s3://team/changed/data/rows.jsonl")
    bench.s3.put("changed/data/rows.jsonl", rows.replace(b"plus", b"plux", 1))
    outcome = bench.run(request)
    failure = outcome.report.failure
    assert (outcome.code, failure.reason) == (ExitCode.DATA, Reason.DATASET_CHANGED)
    assert validated in failure.message
    assert bench.digest("changed") in failure.message
    assert bench.s3.keys("s3://team/changed/out") == before


def test_a_requested_gpu_that_is_not_visible_fails_and_never_trains_on_the_cpu(bench: Bench) -> None:
    outcome = bench.train("bad", resources={"gpus": {"count": 1}})
    assert (outcome.code, outcome.report.failure.reason) == (ExitCode.INFRASTRUCTURE, Reason.GPU_NOT_VISIBLE)


def test_another_reading_of_the_spec_is_refused(bench: Bench) -> None:
    request = bench.request("bad", "preflight").model_copy(update={"spec_digest": "sha256:0"})
    outcome = bench.run(request)
    assert (outcome.code, outcome.report.failure.reason) == (ExitCode.SETTINGS, Reason.SETTINGS_INVALID)
