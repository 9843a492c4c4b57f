"""A server that speaks as much of the Hugging Face hub's API as its client asks to fetch a model."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit


@dataclass
class Hub:
    """One model, at one commit."""

    directory: Path
    repository: str
    commit: str
    license: str | None
    endpoint: str = ""
    changed: set[str] = field(default_factory=set)
    """Files of which other bytes are sent than are listed."""
    asked: list[str] = field(default_factory=list)
    """Paths of all requests."""

    def info(self) -> dict[str, Any]:
        """What the API says of the model, each file with its digest as large files have one."""
        return {
            "id": self.repository,
            "sha": self.commit,
            "private": False,
            "tags": [],
            "downloads": 0,
            "likes": 0,
            "cardData": {"license": self.license} if self.license else None,
            "siblings": [self._file(path) for path in sorted(self.directory.rglob("*")) if path.is_file()],
        }

    def _file(self, path: Path) -> dict[str, Any]:
        size, sha256 = path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest()
        lfs = {"sha256": sha256, "size": size, "pointerSize": 134} if path.suffix == ".safetensors" else None
        name = str(path.relative_to(self.directory))
        return {"rfilename": name, "size": size, "blobId": sha256[:40]} | ({"lfs": lfs} if lfs else {})


@contextmanager
def hub_server(hub: Hub) -> Iterator[Hub]:
    """Serve it on loopback."""

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self._answer(with_body=False)

        def do_GET(self) -> None:
            self._answer(with_body=True)

        def _answer(self, *, with_body: bool) -> None:
            path = unquote(urlsplit(self.path).path).strip("/")
            hub.asked.append(path)
            resolved = f"{hub.repository}/resolve/{hub.commit}/"
            if path == f"api/models/{hub.repository}/revision/{hub.commit}":
                self._send(json.dumps(hub.info()).encode(), "application/json", with_body=with_body)
            elif path.startswith(resolved) and (file := hub.directory / path.removeprefix(resolved)).is_file():
                content = file.read_bytes()
                if file.name in hub.changed:
                    content = bytes([content[0] ^ 1]) + content[1:]
                self._send(content, "application/octet-stream", with_body=with_body)
            else:
                self.send_response(404)
                self.send_header("X-Error-Code", "RepoNotFound")
                self.send_header("Content-Length", "0")
                self.end_headers()

        def _send(self, content: bytes, kind: str, *, with_body: bool) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
            self.send_header("X-Repo-Commit", hub.commit)
            self.end_headers()
            if with_body:
                self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            """Not into the tests' output."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.endpoint = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
