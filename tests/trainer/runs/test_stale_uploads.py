"""Multipart uploads that nobody will finish."""

from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from checkpointing import attempt
from s3_server import S3Server

from finetune_api.layout import OutputLayout
from finetune_trainer.stale_uploads import abort_stale_uploads
from finetune_trainer.storage import Storage, split_uri


def begin_upload(s3: S3Server, uri: str) -> None:
    bucket, key = split_uri(uri)
    upload = s3.client().create_multipart_upload(Bucket=bucket, Key=key)
    part = {"Bucket": bucket, "Key": key, "UploadId": upload["UploadId"], "PartNumber": 1}
    s3.client().upload_part(**part, Body=b"x" * 2**20)


def test_uploads_that_earlier_attempts_left_open_are_aborted_and_no_others(
    s3: S3Server, storage: Storage, layout: OutputLayout, tmp_path: Path
) -> None:
    attempt(storage, layout, tmp_path)
    second = attempt(storage, layout, tmp_path)
    stale = [f"{layout.checkpoint(1, 10)}state.safetensors", f"{layout.run(1)}adapter/adapter_model.safetensors"]
    others = [
        f"{layout.checkpoint(2, 10)}state.safetensors", f"{layout.run(3)}model/model.safetensors",
        f"{layout.root}/data/rows.jsonl",
    ]  # fmt: skip
    for uri in (*stale, *others):
        begin_upload(s3, uri)
    abort_stale_uploads(second.epoch)
    assert sorted(upload.uri for upload in storage.open_uploads(layout.root)) == sorted(others)


def test_a_service_that_cannot_list_uploads_is_warned_of_and_no_more(
    storage: Storage, layout: OutputLayout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    def refuse(**_: Any) -> None:
        raise ClientError({"Error": {"Code": "NotImplemented"}}, "ListMultipartUploads")

    first = attempt(storage, layout, tmp_path)
    monkeypatch.setattr(storage._client, "list_multipart_uploads", refuse)
    abort_stale_uploads(first.epoch)
    assert "uploads of earlier attempts are left" in caplog.text
