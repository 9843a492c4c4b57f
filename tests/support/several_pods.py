"""A run of several pods on this machine: their real entry points, which find each other as pods do, but by a port."""

import os
import signal
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer_run import Bench, Outcome, Running

from finetune_api.request import TrainerRequest


@dataclass
class Pods:
    """The pods of one Job, in order of their index."""

    running: list[Running]

    def rank(self, pod: int, local: int = 0) -> int:
        """The process ID of a rank: a child of its pod's first process."""
        return self._until(lambda: children(self.running[pod].process.pid), "no ranks yet")[local]

    def send(self, number: signal.Signals, pod: int) -> None:
        """Signal the rank of a pod, behind its launcher's back."""
        os.kill(self.rank(pod), number)

    def wait(self) -> list[Outcome]:
        """Wait for the end of all; a hang fails the test. No process outlives its pod."""
        ranks = [child for pod in self.running for child in children(pod.process.pid)]
        outcomes = [pod.wait() for pod in self.running]
        self._until(lambda: not any(map(is_alive, ranks)), f"one of {ranks} outlives its pod")
        return outcomes

    def _until(self, reached: Callable[[], Any], what: str) -> Any:
        deadline = time.monotonic() + 60
        while not (found := reached()):
            assert time.monotonic() < deadline, what
            time.sleep(0.05)
        return found


def start_pods(bench: Bench, request: TrainerRequest, credentials: Mapping[int, Path] | None = None) -> Pods:
    """Start as many pods as the spec has nodes, some with `credentials` of their own."""
    meeting = request.model_copy(update={"rendezvous": f"127.0.0.1:{free_port()}"})
    own = credentials or {}
    return Pods(
        [
            bench.start(meeting, own.get(index), {"JOB_COMPLETION_INDEX": str(index)})
            for index in range(request.spec.resources.nodes)
        ]
    )


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def children(parent: int) -> list[int]:
    """Processes that a process has started, the oldest first."""
    found = []
    for task in Path(f"/proc/{parent}/task").glob("*/children"):
        found += [int(child) for child in task.read_text().split()]
    return sorted(found)


def is_alive(process: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        stat = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"
