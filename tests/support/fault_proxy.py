"""A proxy in front of the real S3 server that injects faults into chosen requests, and keeps a log of all of them.

A `Rule` chooses requests by method and path; its fault is one of `Answer`, `Slow`, `Cut` and `Hold`. A `Hold` stops a
request half way and tells the test, which then kills the client: so a kill inside an upload is a fact, not a guess.
The client's Host header is passed on as it came, because the request's signature covers it.

Toxiproxy works on bytes and cannot choose the second upload of a manifest; mitmproxy can, at the price of forty
packages. The standard library's HTTP server and client do all that is needed.
"""

import http.client
import os
import re
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final, Literal
from urllib.parse import unquote, urlsplit

Place = Literal["request", "answer"]
"""request: half of the request's body has been passed on. answer: the whole request has, and half of the body of its
answer (nothing, where it has no body) came back."""
_PIECE: Final = 4096
_UPSTREAM_SECONDS: Final = 60
_ARRIVES_SECONDS: Final = 0.2
_ANSWERED: Final = (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT)
_NOT_PASSED_ON: Final = {"connection", "content-length", "expect", "keep-alive", "transfer-encoding"}


@dataclass(frozen=True)
class Answer:
    """Answer with an error instead of passing the request on."""

    status: int
    code: str


@dataclass(frozen=True)
class Slow:
    """Wait before passing on, and pass bodies on slowly."""

    seconds: float = 0.0
    bytes_per_second: float = float("inf")


@dataclass(frozen=True)
class Cut:
    """Cut the connection."""

    place: Place
    reset: bool = False
    """As a dead peer or a load balancer does, with a reset instead of an orderly end."""


@dataclass(frozen=True)
class Hold:
    """Stop at a place until the client is dead, then cut the connection."""

    place: Place
    reached: threading.Event = field(default_factory=threading.Event)
    """Set once the request stands there."""
    released: threading.Event = field(default_factory=threading.Event)
    """Set by the test when the client is dead."""


Fault = Answer | Slow | Cut | Hold


@dataclass
class Rule:
    """Which requests get a fault."""

    method: str
    """Regular expression, matched as a whole."""
    path: str
    """Regular expression, searched in the unquoted path with its query."""
    fault: Fault
    skip: int = 0
    """So many of them pass first."""
    times: int | None = 1
    """So many of them are hit then; None hits all."""
    after: str = ""
    """None is counted before a request with this in its path was answered."""

    def takes(self, method: str, path: str) -> bool:
        """Whether this request is hit; counts it."""
        if not re.fullmatch(self.method, method) or not re.search(self.path, path) or self.times == 0:
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        if self.times is not None:
            self.times -= 1
        return True


@dataclass
class Seen:
    """A request in the log."""

    method: str
    path: str
    fault: Fault | None
    status: int | None = None
    """What the client was answered; None while it is not, or where the connection was cut."""


class FaultProxy:
    """A running proxy."""

    def __init__(self, upstream: str) -> None:
        self.upstream = urlsplit(upstream).netloc
        self.log: list[Seen] = []
        self._rules: list[Rule] = []
        self._lock = threading.Lock()
        self._server = _Server(self)
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"

    def inject(self, *rules: Rule) -> None:
        """Start a new log with these rules; none of the old ones holds any more."""
        with self._lock:
            for rule in self._rules:
                if isinstance(rule.fault, Hold):
                    rule.fault.released.set()
            self._rules, self.log = list(rules), []

    def note(self, method: str, path: str) -> Seen:
        """Log a request that has arrived, with the fault that it gets."""
        with self._lock:
            answered = [seen.path for seen in self.log if seen.status in _ANSWERED]
            rules = (
                rule for rule in self._rules if not rule.after or any(re.search(rule.after, path) for path in answered)
            )
            hit = next((rule for rule in rules if rule.takes(method, path)), None)
            seen = Seen(method, path, hit.fault if hit else None)
            self.log.append(seen)
            return seen

    def run(self) -> None:
        """Serve until `close`."""
        self._server.serve_forever(poll_interval=0.05)

    def close(self) -> None:
        """Let go of what is held, and stop."""
        self.inject()
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def fault_proxy(upstream: str) -> Iterator[FaultProxy]:
    """A proxy in front of a server."""
    proxy = FaultProxy(upstream)
    thread = threading.Thread(target=proxy.run)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.close()
        thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, proxy: FaultProxy) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.proxy = proxy

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: clients die here, on purpose."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def handle_one_request(self) -> None:
        """Take any method."""
        self.raw_requestline = self.rfile.readline(65537)
        if not self.raw_requestline or not self.parse_request():
            self.close_connection = True
            return
        self._pass_on(self.server.proxy.note(self.command, unquote(self.path)))

    def log_message(self, *arguments: object) -> None:
        """Say nothing; the proxy has a log of its own."""

    def _pass_on(self, seen: Seen) -> None:
        fault, length = seen.fault, int(self.headers.get("Content-Length", 0))
        if isinstance(fault, Answer):
            self.rfile.read(length)
            content = f"<Error><Code>{fault.code}</Code><Message>injected</Message></Error>".encode()
            seen.status = fault.status
            self._send(fault.status, [("Content-Type", "application/xml")], b"" if self.command == "HEAD" else content)
        else:
            self._ask_upstream(seen, length)

    def _ask_upstream(self, seen: Seen, length: int) -> None:
        fault = seen.fault
        time.sleep(fault.seconds if isinstance(fault, Slow) else 0)
        upstream = http.client.HTTPConnection(self.server.proxy.upstream, timeout=_UPSTREAM_SECONDS)
        try:
            self._send_upstream(upstream, fault, length)
            if _stops_at(fault, "request"):
                self._drop(fault)
                return
            answer = upstream.getresponse()
            content = answer.read()
            # Of a HEAD only the length comes, not the body.
            size = int(answer.headers.get("Content-Length") or 0) if self.command == "HEAD" else len(content)
            kept = [(name, value) for name, value in answer.getheaders() if name.lower() not in _NOT_PASSED_ON]
            if _stops_at(fault, "answer"):
                if content:
                    self._send(answer.status, kept, content[: len(content) // 2], size=size)
                self._drop(fault)
            else:
                seen.status = answer.status
                self._send(answer.status, kept, content, size=size, fault=fault)
        finally:
            upstream.close()

    def _send_upstream(self, upstream: http.client.HTTPConnection, fault: Fault | None, length: int) -> None:
        upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            if name.lower() not in _NOT_PASSED_ON or name.lower() == "content-length":
                upstream.putheader(name, value)
        upstream.endheaders()
        left = length // 2 if _stops_at(fault, "request") else length
        while left > 0:
            piece = self.rfile.read(min(_PIECE, left))
            if not piece:
                raise ConnectionError("the client is gone")
            upstream.send(piece)
            left -= len(piece)
            _pace(fault, len(piece))

    def _send(
        self,
        status: int,
        headers: list[tuple[str, str]],
        content: bytes,
        *,
        size: int | None = None,
        fault: Fault | None = None,
    ) -> None:
        self.send_response_only(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content) if size is None else size))
        self.end_headers()
        for start in range(0, len(content), _PIECE):
            self.wfile.write(content[start : start + _PIECE])
            _pace(fault, len(content[start : start + _PIECE]))

    def _drop(self, fault: Fault | None) -> None:
        """Cut the connection; of a held request when the test says so."""
        if isinstance(fault, Hold):
            fault.reached.set()
            fault.released.wait()
        self.close_connection = True
        if isinstance(fault, Cut) and fault.reset:
            time.sleep(_ARRIVES_SECONDS)  # a reset throws away what was sent and not yet read
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            os.close(self.connection.detach())
        else:
            self.connection.shutdown(socket.SHUT_RDWR)


def _stops_at(fault: Fault | None, place: Place) -> bool:
    return isinstance(fault, Cut | Hold) and fault.place == place


def _pace(fault: Fault | None, count: int) -> None:
    if isinstance(fault, Slow):
        time.sleep(count / fault.bytes_per_second)
