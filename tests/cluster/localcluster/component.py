"""What the supervisor starts: a program, its arguments, and how to tell that it answers."""

import http.client
import socket
import ssl
from dataclasses import dataclass, field
from pathlib import Path

from localcluster.pki import KeyPair


@dataclass(frozen=True)
class TcpPort:
    """Ready when a TCP connection is accepted."""

    address: str
    port: int

    def answers(self) -> bool:
        """Whether something listens."""
        try:
            with socket.create_connection((self.address, self.port), timeout=1):
                return True
        except OSError:
            return False


@dataclass(frozen=True)
class UnixSocket:
    """Ready when a connection to a Unix socket is accepted."""

    path: Path

    def answers(self) -> bool:
        """Whether something listens."""
        with socket.socket(socket.AF_UNIX) as connection:
            try:
                connection.connect(str(self.path))
            except OSError:
                return False
            return True


@dataclass(frozen=True)
class HttpsPath:
    """Ready when a GET with a client certificate answers 200."""

    address: str
    port: int
    path: str
    authority: Path
    client: KeyPair

    def answers(self) -> bool:
        """Whether the server is there and calls itself ready."""
        trust = ssl.create_default_context(cafile=str(self.authority))
        trust.load_cert_chain(self.client.certificate, self.client.key)
        connection = http.client.HTTPSConnection(self.address, self.port, timeout=2, context=trust)
        try:
            connection.request("GET", self.path)
            return connection.getresponse().status == http.HTTPStatus.OK
        except OSError:
            return False
        finally:
            connection.close()


@dataclass(frozen=True)
class Component:
    """One long-running program of the cluster."""

    name: str
    argv: tuple[str, ...]
    ready: TcpPort | UnixSocket | HttpsPath
    needs: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
