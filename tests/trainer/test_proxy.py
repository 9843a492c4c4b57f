"""The proxy that the operator writes into a pod's environment is the one that S3 is reached through."""

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from finetune_api.spec.model import Storage as StorageSpec
from finetune_trainer.storage import Storage

NOTHING = b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What a proxy, named in the environment, is asked for; it answers that there is nothing."""
    requests: list[str] = []

    class Proxy(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requests.append(self.path)
            self.send_response(200)
            self.send_header("Content-Length", str(len(NOTHING)))
            self.end_headers()
            self.wfile.write(NOTHING)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        for name in ("http_proxy", "https_proxy", "no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "k")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
        yield requests
        server.shutdown()


def storage(tmp_path: Path) -> Storage:
    spec = StorageSpec(endpoint="http://s3.invalid:9000")
    return Storage.connect(spec, credentials_dir=tmp_path, ca_file=tmp_path / "none", check=lambda: None)


def test_s3_is_reached_through_the_proxy(asked: list[str], tmp_path: Path) -> None:
    assert storage(tmp_path).list_objects("s3://team/data/") == []
    (request,) = asked
    assert request.startswith("http://s3.invalid:9000/team?")


def test_a_host_that_needs_no_proxy_is_asked_itself(
    asked: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", ".svc,s3.invalid")
    with pytest.raises(Exception, match="EndpointConnectionError"):
        storage(tmp_path).list_objects("s3://team/data/")
    assert asked == []
