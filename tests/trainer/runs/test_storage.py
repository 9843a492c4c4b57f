"""What a real S3 server answers, as the trainer understands it."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from fault_proxy import Cut, Rule, fault_proxy
from s3_server import ADMIN, S3Server, write_credentials

from finetune_api.conditions import Reason
from finetune_api.layout import OutputLayout
from finetune_api.spec.model import Storage as StorageSpec
from finetune_trainer.epoch import claim
from finetune_trainer.errors import CredentialsError, InfrastructureError, SettingsError, StopRequested
from finetune_trainer.manifest import Identity
from finetune_trainer.signals import StopSignal
from finetune_trainer.storage import Storage

Connect = Callable[..., Storage]


@pytest.fixture
def connect(s3: S3Server, tmp_path: Path) -> Connect:
    def make(
        credentials: Path = s3.credentials_dir, check: Callable[[], None] = lambda: None, **spec: object
    ) -> Storage:
        settings = StorageSpec.model_validate({"endpoint": s3.endpoint, **spec})
        return Storage.connect(settings, credentials_dir=credentials, ca_file=tmp_path / "ca.crt", check=check)

    return make


def test_an_object_is_written_once_and_the_second_writer_learns_it(connect: Connect) -> None:
    storage = connect()
    assert storage.write_if_absent("s3://team/once", b"first")
    assert not storage.write_if_absent("s3://team/once", b"second")
    assert storage.read("s3://team/once") == b"first"


def test_a_conditional_write_whose_answer_was_lost_counts_as_written(connect: Connect) -> None:
    storage = connect()
    storage.write("s3://team/lost", b"mine")
    assert storage.write_if_absent("s3://team/lost", b"mine")


def test_an_object_is_replaced_only_while_it_is_the_one_that_was_read(connect: Connect) -> None:
    storage = connect()
    storage.write("s3://team/replaced", b"first")
    read = storage.read_tagged("s3://team/replaced")
    assert read is not None
    assert storage.write_if_match("s3://team/replaced", b"second", read.etag)
    assert not storage.write_if_match("s3://team/replaced", b"third", read.etag)
    assert storage.write_if_match("s3://team/replaced", b"second", read.etag)  # its answer was lost
    assert storage.read("s3://team/replaced") == b"second"
    storage.delete(["s3://team/replaced"])
    assert not storage.write_if_match("s3://team/replaced", b"fourth", read.etag)


def test_a_missing_object_is_none_and_a_missing_prefix_is_empty(connect: Connect) -> None:
    storage = connect()
    assert storage.read("s3://team/nothing") is None
    assert storage.list_objects("s3://team/nothing/") == []


def test_files_survive_the_way_there_and_back(connect: Connect, tmp_path: Path) -> None:
    storage = connect()
    sizes = {"empty": 0, "small": 3, "one-part": 16 * 2**20, "several-parts": 40 * 2**20 + 3}
    for name, size in sizes.items():
        source = tmp_path / name
        source.write_bytes(os.urandom(size))
        storage.upload(source, f"s3://team/files/{name}")
    found = storage.list_objects("s3://team/files/")
    for item, path in zip(found, storage.download(found, tmp_path / "back"), strict=True):
        assert path.read_bytes() == (tmp_path / item.name).read_bytes()
    storage.delete(item.uri for item in found)
    assert storage.list_objects("s3://team/files/") == []


def test_an_object_that_is_replaced_while_it_is_read_is_no_mixture_of_two(connect: Connect, tmp_path: Path) -> None:
    storage = connect()
    storage.write("s3://team/replaced-while-read", b"old" * 2**20)
    listed = storage.list_objects("s3://team/replaced-while-read")
    storage.write("s3://team/replaced-while-read", b"new" * 2**20)
    with pytest.raises(InfrastructureError, match="replaced meanwhile"):
        storage.download(listed, tmp_path)


@pytest.mark.parametrize("reset", [False, True])
def test_a_download_that_breaks_off_goes_on_where_it_was(
    connect: Connect, s3: S3Server, tmp_path: Path, reset: bool
) -> None:
    content = os.urandom(20 * 2**20)
    connect().write("s3://team/breaks-off", content)
    with fault_proxy(s3.endpoint) as proxy:
        storage = connect(endpoint=proxy.endpoint)
        proxy.inject(Rule("GET", "/breaks-off", Cut("answer", reset), times=3))
        storage.download(storage.list_objects("s3://team/breaks-off"), tmp_path)
        assert [bool(seen.fault) for seen in proxy.log if "/breaks-off" in seen.path] == [True] * 3 + [False] * 2
    assert (tmp_path / "breaks-off").read_bytes() == content


def test_a_stop_request_ends_a_download(connect: Connect, tmp_path: Path) -> None:
    connect().write("s3://team/big", b"x" * 2**20)
    stop = StopSignal()
    stop._handle(15, None)
    storage = connect(check=stop.check)
    with pytest.raises(StopRequested):
        storage.download(storage.list_objects("s3://team/big"), tmp_path)


def test_a_stop_request_ends_an_upload_and_leaves_no_part_behind(connect: Connect, tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(b"x" * 40 * 2**20)
    stop = StopSignal()
    stop._handle(15, None)
    storage = connect(check=stop.check)
    slow = storage._client.upload_part
    storage._client.upload_part = lambda **part: (time.sleep(0.5), slow(**part))[1]
    with pytest.raises(StopRequested):
        storage.upload(tmp_path / "big", "s3://team/stopped/big")
    assert connect().list_objects("s3://team/stopped/") == []
    assert connect().open_uploads("s3://team/stopped/") == []
    assert connect().read("s3://team/stopped/big") is None


def test_a_missing_bucket_is_told_apart_where_the_server_does(connect: Connect, tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        connect(write_credentials(tmp_path / "admin", ADMIN)).list_objects("s3://no-such-bucket/x")
    assert caught.value.reason is Reason.BUCKET_NOT_FOUND


def test_a_pod_without_any_identity_is_told_so(
    connect: Connect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(CredentialsError, match="no S3 identity"):
        connect(tmp_path / "nothing").list_objects("s3://team/x")


def test_a_ca_bundle_that_is_not_mounted_is_named(connect: Connect) -> None:
    with pytest.raises(SettingsError, match="'corp-ca'"):
        connect(caBundle={"configMapName": "corp-ca"})


def test_every_claim_gets_an_epoch_of_its_own_and_only_the_newest_may_commit(connect: Connect) -> None:
    storage, layout = connect(), OutputLayout.of("s3://team/claims")
    older, newer = (claim(storage, layout, Identity("s", "d"), now="2026-01-31T12:00:00Z") for _ in range(2))
    assert (older.number, newer.number) == (1, 2)
    newer.check()
    with pytest.raises(InfrastructureError) as caught:
        older.check()
    assert caught.value.reason is Reason.SUPERSEDED
