"""What preflight prepares is what training reads: found again, verified, made anew where it is gone."""

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from s3_server import S3Server
from trainer_run import Bench, Outcome, add_rows

from finetune_api.conditions import Reason
from finetune_api.exit_codes import ExitCode
from finetune_api.spec.model import Storage as StorageSpec
from finetune_trainer.prepared_store import UNUSED_SECONDS, remove_unused
from finetune_trainer.storage import Storage


def shared(name: str, other: str, **more: Any) -> dict[str, Any]:
    """Sections of job `name` that read the data of job `other` and share its prepared data."""
    data = {"train": [{"uri": f"s3://team/{other}/data/"}], "preparedUri": f"s3://team/{other}/shared"}
    return {"data": {**data, **more}, "output": {"uri": f"s3://team/{name}/out"}}


def document(bench: Bench, name: str) -> dict[str, Any]:
    return dict(json.loads(bench.s3.get(f"s3://team/{name}/out/prepared.json")))


def lies_prepared(outcome: Outcome) -> bool:
    return "the data lies prepared" in outcome.output


@pytest.fixture(scope="module")
def first(bench: Bench) -> Outcome:
    """The preflight of a job with rows, two of them bad."""
    bench.put_rows("store", [*add_rows(120), {"instruction": "a"}, {"instruction": "b", "response": ""}])
    outcome = bench.preflight("store", **shared("store", "store", onBadRow="quarantine", maxBadShare=0.05))
    assert outcome.code == ExitCode.SUCCESS, outcome.output
    return outcome


def test_prepared_json_holds_what_training_needs_and_the_report_its_digest(bench: Bench, first: Outcome) -> None:
    prepared = document(bench, "store")
    assert prepared["storeUri"].startswith("s3://team/store/shared/")
    assert re.fullmatch(r"[0-9a-f]{64}/", prepared["storeUri"].removeprefix("s3://team/store/shared/"))
    assert prepared["dataDigest"] == first.report.data.digest
    assert prepared["settings"]["learningRate"] == 0.01
    assert first.report.prepared.uri == "s3://team/store/out/prepared.json"


def test_progress_of_preflight_counts_rows_and_bytes(bench: Bench, first: Outcome) -> None:
    last = first.progress[-1]
    assert (last.stage, last.rows, last.bytes) == ("validating", 122, last.total_bytes)


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one core needs no other process")
def test_large_data_is_prepared_in_several_processes(bench: Bench) -> None:
    # Large by a column that nobody reads, so that the tokenizer has little to do.
    bench.put_rows("large", [row | {"note": "x" * 600_000} for row in add_rows(120)])
    outcome = bench.preflight("large")
    assert outcome.code == ExitCode.SUCCESS, outcome.output
    assert re.search(r"preparing the data in \d processes", outcome.output)
    data = outcome.report.data
    assert data.train_rows + data.validation_rows + data.test_rows == 120


def test_quarantined_rows_and_the_report_lie_in_the_output(bench: Bench, first: Outcome) -> None:
    lines = [json.loads(line) for line in bench.s3.get("s3://team/store/out/quarantine.jsonl").splitlines()]
    assert [line["place"].rpartition(":")[2] for line in lines] == ["121", "122"]
    assert lines[0]["row"] == {"instruction": "a"}
    assert first.report.data.bad_rows == 2
    assert first.report.data.report_uri == "s3://team/store/out/data_report.html"
    assert b"<html" in bench.s3.get(first.report.data.report_uri)


def test_a_second_job_on_the_same_data_finds_it_prepared_and_publishes_its_own_findings(
    bench: Bench, first: Outcome
) -> None:
    same = shared("sharer", "store", onBadRow="quarantine", maxBadShare=0.5)
    second = bench.preflight("sharer", **same, training={"seed": 3})
    assert second.code == ExitCode.SUCCESS, second.output
    assert (lies_prepared(first), lies_prepared(second)) == (False, True)
    assert document(bench, "sharer")["storeDigest"] == document(bench, "store")["storeDigest"]
    ours, theirs = (bench.s3.get(f"s3://team/{name}/out/quarantine.jsonl") for name in ("sharer", "store"))
    assert ours == theirs
    changed = {"report_uri": first.report.data.report_uri}
    assert second.report.data.model_copy(update=changed) == first.report.data
    assert json.loads(bench.s3.get("s3://team/sharer/out/data_report.json"))["refusal"] is None


@pytest.mark.parametrize("settings", [{}, {"onBadRow": "quarantine", "maxBadShare": 0.001}], ids=["fail", "share"])
def test_a_second_job_judges_the_same_bad_rows_by_its_own_settings(
    bench: Bench, first: Outcome, settings: dict[str, Any]
) -> None:
    refused = bench.preflight("strict", **shared("strict", "store", **settings))
    assert (refused.code, refused.report.failure.reason) == (ExitCode.DATA, Reason.DATASET_INVALID)
    assert lies_prepared(refused)
    assert "rows.jsonl:121" in refused.report.failure.message
    assert refused.report.data.bad_rows == 2
    page = json.loads(bench.s3.get("s3://team/strict/out/data_report.json"))
    assert page["refusal"]["reason"] == Reason.DATASET_INVALID
    assert "prepared.json" not in bench.s3.keys("s3://team/strict/out")


@pytest.mark.parametrize(
    "change",
    [{"template": {"name": "alpaca"}}, {"maxTokens": 64}, {"split": {"seed": 1}}, {"columns": None}],
    ids=["template", "length", "split", "columns"],
)
def test_what_would_be_prepared_otherwise_is_not_shared(bench: Bench, first: Outcome, change: dict[str, Any]) -> None:
    sections = shared("other", "store", onBadRow="quarantine", maxBadShare=0.5)
    if "columns" in change:
        sections["data"]["train"][0]["columns"] = {"instruction": "instruction"}
    else:
        sections["data"] |= change
    assert not lies_prepared(bench.preflight("other", **sections))


def test_training_neither_reads_raw_data_nor_tokenizes(bench: Bench) -> None:
    bench.put_rows("lean", add_rows(60))
    request = bench.validated("lean")
    outcome = bench.run(request)
    assert outcome.code == ExitCode.SUCCESS, outcome.output
    assert lies_prepared(outcome)
    assert "content is compared" not in outcome.output


def test_data_with_another_mark_is_read_and_accepted_if_its_content_is_the_same(bench: Bench) -> None:
    bench.put_rows("again", add_rows(60))
    content = bench.s3.get("s3://team/again/data/rows.jsonl") + b" " * (6 << 20)  # large enough for two parts
    bench.s3.put("again/data/rows.jsonl", content)
    request = bench.validated("again")
    in_two_parts(bench.s3, "again/data/rows.jsonl", content)
    outcome = bench.run(request)
    assert outcome.code == ExitCode.SUCCESS, outcome.output
    assert "its content is compared" in outcome.output


def in_two_parts(s3: S3Server, key: str, content: bytes) -> None:
    """Upload in parts: services mark that otherwise than an upload in one."""
    client, place = s3.client(), {"Bucket": "team", "Key": key}
    upload = {**place, "UploadId": client.create_multipart_upload(**place)["UploadId"]}
    cut = 5 << 20  # the least that S3 takes as a part
    parts = []
    for number, part in enumerate((content[:cut], content[cut:]), start=1):
        tag = client.upload_part(**upload, PartNumber=number, Body=part)["ETag"]
        parts.append({"PartNumber": number, "ETag": tag})
    client.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})


def store_keys(bench: Bench, name: str) -> tuple[str, list[str]]:
    uri = document(bench, name)["storeUri"]
    return uri.removeprefix("s3://team/"), bench.s3.keys(uri)


@pytest.mark.parametrize("harm", ["removed", "damaged"])
def test_prepared_data_that_is_gone_or_damaged_is_prepared_again(bench: Bench, harm: str) -> None:
    bench.put_rows(harm, add_rows(60))
    request = bench.validated(harm)
    prefix, keys = store_keys(bench, harm)
    whole = {key: bench.s3.get(f"s3://team/{prefix}{key}") for key in keys if key != "used.json"}
    for key in whole if harm == "removed" else ["train-00000.safetensors"]:
        bench.s3.put(prefix + key, whole[key][:-1] + b"\x7f")
        if harm == "removed":
            bench.s3.client().delete_object(Bucket="team", Key=prefix + key)
    outcome = bench.run(request)
    assert outcome.code == ExitCode.SUCCESS, outcome.output
    assert "prepared again" in outcome.output
    report = ("data_report.json", "manifest.json")
    assert {key: bench.s3.get(f"s3://team/{prefix}{key}") for key in whole if key not in report} == {
        key: content for key, content in whole.items() if key not in report
    }


def test_another_prepared_json_than_the_operator_was_told_of_is_refused(bench: Bench, first: Outcome) -> None:
    sections = shared("store", "store", onBadRow="quarantine", maxBadShare=0.05)
    request = bench.after(first, "store", **sections)
    for digest, expected in (("sha256:0", "preflight wrote sha256:0"), (None, "names no prepared.json")):
        outcome = bench.run(request.model_copy(update={"prepared_digest": digest}))
        failure = outcome.report.failure
        assert (outcome.code, failure.reason) == (ExitCode.SETTINGS, Reason.SETTINGS_INVALID)
        assert expected in failure.message


@pytest.fixture
def storage(s3: S3Server, tmp_path: Path) -> Storage:
    spec = StorageSpec(endpoint=s3.endpoint)
    return Storage.connect(spec, credentials_dir=s3.credentials_dir, ca_file=tmp_path / "ca.crt", check=lambda: None)


def put_store(s3: S3Server, root: str, key: str, names: tuple[str, ...] = ("used.json", "manifest.json")) -> str:
    for name in names:
        s3.put(f"{root}/{key}/{name}", b"{}")
    return f"s3://team/{root}/{key}/"


def test_only_stores_that_nobody_used_for_30_days_are_removed(s3: S3Server, storage: Storage) -> None:
    own = put_store(s3, "collect", "a" * 64)
    put_store(s3, "collect", "b" * 64)
    put_store(s3, "collect", "precious")
    put_store(s3, "collect", "c" * 64, names=("manifest.json", "weights.safetensors"))  # no mark of ours
    written = storage.list_objects("s3://team/collect/")
    now = max(item.modified for item in written)
    remove_unused(storage, "s3://team/collect/", own, now + UNUSED_SECONDS - 60)
    assert storage.list_objects("s3://team/collect/") == written
    remove_unused(storage, "s3://team/collect/", own, now + UNUSED_SECONDS + 60)
    left = {key.partition("/")[0] for key in s3.keys("s3://team/collect/")}
    assert left == {"a" * 64, "c" * 64, "precious"}


def test_a_store_that_cannot_be_removed_is_told_and_stays(
    s3: S3Server, storage: Storage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    put_store(s3, "kept", "b" * 64)

    def refuse(**_: Any) -> dict[str, Any]:
        return {"Errors": [{"Key": "k", "Code": "AccessDenied", "Message": "Access Denied"}]}

    monkeypatch.setattr(storage._client, "delete_objects", refuse)
    remove_unused(storage, "s3://team/kept/", "s3://team/kept/own/", now=1e11)
    assert "unused prepared data under s3://team/kept/ is not removed" in caplog.text
    assert len(storage.list_objects("s3://team/kept/")) == 2
