"""The proxy passes on what it is not told to break, and breaks what it is told to, where it is told to."""

import threading
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from fault_proxy import Answer, Cut, FaultProxy, Hold, Rule, fault_proxy
from s3_server import ADMIN, BUCKET, S3Server

BODY = bytes(range(256)) * 400


@pytest.fixture
def proxy(s3: S3Server) -> Iterator[FaultProxy]:
    with fault_proxy(s3.endpoint) as running:
        yield running


@pytest.fixture
def client(proxy: FaultProxy) -> Any:
    """A client that tries once."""
    config = Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1})
    keys = {"aws_access_key_id": ADMIN[0], "aws_secret_access_key": ADMIN[1], "region_name": "us-east-1"}
    return boto3.client("s3", endpoint_url=proxy.endpoint, config=config, **keys)


def put(client: Any, key: str, body: bytes = BODY) -> None:
    client.put_object(Bucket=BUCKET, Key=key, Body=body)


def test_objects_pass_unharmed_and_are_logged(s3: S3Server, proxy: FaultProxy, client: Any) -> None:
    put(client, "proxy/a key+é")
    assert s3.get(f"s3://{BUCKET}/proxy/a key+é") == BODY
    part = client.get_object(Bucket=BUCKET, Key="proxy/a key+é", Range="bytes=5-260")["Body"].read()
    assert part == BODY[5:261]
    assert client.head_object(Bucket=BUCKET, Key="proxy/a key+é")["ContentLength"] == len(BODY)
    logged = [(seen.method, seen.path, seen.status) for seen in proxy.log]
    assert logged == [(method, "/team/proxy/a key+é", status) for method, status in
                      (("PUT", 200), ("GET", 206), ("HEAD", 200))]  # fmt: skip


def test_a_rule_hits_the_requests_it_counts_to_and_no_others(proxy: FaultProxy, client: Any) -> None:
    proxy.inject(Rule("PUT", "proxy/counted", Answer(403, "AccessDenied"), skip=1, after="proxy/first"))
    put(client, "proxy/counted")
    put(client, "proxy/first")
    put(client, "proxy/counted")
    with pytest.raises(ClientError, match="AccessDenied"):
        put(client, "proxy/counted")
    put(client, "proxy/counted")


def test_an_upload_cut_in_the_middle_leaves_no_object(s3: S3Server, proxy: FaultProxy, client: Any) -> None:
    proxy.inject(Rule("PUT", "proxy/cut", Cut("request")))
    with pytest.raises(BotoCoreError):
        put(client, "proxy/cut")
    assert s3.keys(f"s3://{BUCKET}/proxy/cut") == []


def test_an_upload_whose_answer_is_lost_has_happened(s3: S3Server, proxy: FaultProxy, client: Any) -> None:
    proxy.inject(Rule("PUT", "proxy/lost", Cut("answer")))
    with pytest.raises(BotoCoreError):
        put(client, "proxy/lost")
    assert s3.get(f"s3://{BUCKET}/proxy/lost") == BODY


def test_a_download_cut_in_the_middle_ends_half_way(proxy: FaultProxy, client: Any) -> None:
    put(client, "proxy/read")
    proxy.inject(Rule("GET", "proxy/read", Cut("answer")))
    body = client.get_object(Bucket=BUCKET, Key="proxy/read")["Body"]
    assert body.read(len(BODY) // 2) == BODY[: len(BODY) // 2]
    with pytest.raises(BotoCoreError):
        body.read()


def test_a_held_request_stands_until_it_is_let_go(s3: S3Server, proxy: FaultProxy, client: Any) -> None:
    hold = Hold("request")
    proxy.inject(Rule("PUT", "proxy/held", hold))
    failed = []

    def try_to_put() -> None:
        try:
            put(client, "proxy/held")
        except BotoCoreError as error:
            failed.append(error)

    thread = threading.Thread(target=try_to_put)
    thread.start()
    assert hold.reached.wait(20)
    assert failed == []
    hold.released.set()
    thread.join(20)
    assert len(failed) == 1
    assert s3.keys(f"s3://{BUCKET}/proxy/held") == []
