"""The operator as its own process, as the Deployment runs it, outside the cluster."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Self

from kubectl import Kubectl

ROOT = Path(__file__).resolve().parents[2]
READY_SECONDS = 60


class OperatorProcess:
    """One operator; stopped at the end of its context if it still runs."""

    def __init__(self, kubectl: Kubectl, log: Path, *flags: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._log = log
        self._command = [
            *(sys.executable, "-m", "finetune_operator"),
            *("--trainer-image", "trainer.test/image:1", "--port", str(self.port), "--resync-seconds", "3600", *flags),
        ]
        self._environment = {
            **os.environ,
            "KUBECONFIG": str(kubectl.kubeconfig),
            "PYTHONPATH": str(ROOT / "operator" / "src"),
        }
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process is not None and self.process.poll() is None:
            self.kill()

    def start(self, *, wait: bool = True) -> None:
        """Start it; once this returns its watches are up."""
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(self._command, env=self._environment, stderr=log, stdout=log)
        deadline = time.monotonic() + READY_SECONDS
        while wait and self.get("/readyz")[0] != 200:
            assert self.process.poll() is None, self.log()
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.1)

    def kill(self) -> None:
        """End it without a chance to clean up."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self.process is not None
        self.process.send_signal(number)

    def ended(self) -> int:
        """Its exit status, once it has ended."""
        assert self.process is not None
        return self.process.wait(timeout=READY_SECONDS)

    def leads(self) -> bool:
        """Whether it is the one that acts."""
        return 'leader_election_master_status{name="finetune-operator"} 1.0' in self.get("/metrics")[1]

    def ask_to_stop(self) -> int:
        """SIGTERM; its exit status."""
        self.send(signal.SIGTERM)
        return self.ended()

    def get(self, path: str) -> tuple[int, str]:
        """Status and text of one of its HTTP endpoints; 0 while it does not listen."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def log(self) -> str:
        """What it has said so far."""
        return self._log.read_text()
