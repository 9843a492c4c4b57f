"""Starts the processes that train together in one pod, one for each GPU, and ends as one process would.

Not torchrun: its agent ends with 1 whatever its workers ended with, gives them 30 seconds after SIGTERM, when saving
can take the whole grace period, starts them again by itself, which is the operator's part, and needs torch in memory.
Here every process is given its place by torchrun's variables; SIGTERM is handed on; the first that fails ends the
others; and one that does not even say any more that it is alive (stopped, or stuck in a call that holds Python's lock)
is killed.
"""

import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from finetune_api.conditions import BEREAVED, Reason
from finetune_api.exit_codes import ExitCode
from finetune_api.report import TrainerReport
from finetune_api.request import TrainerRequest
from finetune_api.termination_message import compact
from finetune_trainer.errors import InfrastructureError
from finetune_trainer.failures import as_failure
from finetune_trainer.place import PULSE_FD, Place

LOG: Final = logging.getLogger(__name__)
_INDEX: Final = "JOB_COMPLETION_INDEX"
"""Set by Kubernetes in the pods of an Indexed Job."""
_LOOK_SECONDS: Final = 0.2
_STARTING_SECONDS: Final = 600.0
"""Until a new process can be expected to have imported its libraries and to show that it is alive."""
_PATIENCE_SECONDS: Final = 60.0
"""For the others to notice that one has failed, and to leave their reports."""
_LATE: Final = 1.25
"""Times the stall limit after which a silent process is killed: by then its own watchdog should have ended it."""
_STOPPED: Final = frozenset({0, int(ExitCode.PREEMPTED), int(ExitCode.RANKS_PREEMPTED)})
"""Ends after which the others may take their time."""


@dataclass
class _Child:
    """A process that trains."""

    place: Place
    process: subprocess.Popen[bytes]
    message: Path
    pulse: int
    heard: float
    """When it last showed that it is alive."""
    ended: float | None = None
    killed: str = ""
    """Why it was killed by us."""

    def is_silent(self, limit: float) -> bool:
        with contextlib.suppress(BlockingIOError):
            if os.read(self.pulse, 4096):
                self.heard = time.monotonic()
        return time.monotonic() - self.heard > limit

    def has_ended(self) -> bool:
        if self.ended is None and self.process.poll() is not None:
            self.ended = time.monotonic()
        return self.ended is not None

    def kill(self, why: str) -> None:
        LOG.error("rank %d is killed: %s", self.place.rank, why)
        self.killed = why
        self.process.kill()


def places(request: TrainerRequest, environment: Mapping[str, str]) -> list[Place]:
    """The places of this pod's processes; none where a single process trains, or where it already has its place."""
    wanted = request.spec.resources
    if wanted.world_size == 1 or Place.here(environment).count > 1:
        return []
    node, local = int(environment.get(_INDEX, "0")), wanted.processes_per_node
    # The first pod need not be able to look up its own name.
    host, port = request.rendezvous.rsplit(":", 1) if request.rendezvous else ("127.0.0.1", str(_free_port()))
    host = "127.0.0.1" if node == 0 else host
    return [Place(node * local + rank, wanted.world_size, rank, local, host, int(port)) for rank in range(local)]


def launch(
    places: Sequence[Place], arguments: Sequence[str], *, work_dir: Path, message: Path, stall_seconds: float
) -> int:
    """Run a process at every place; the exit code of the one whose end was that of all.

    Args:
        places: Those of this pod.
        arguments: Command-line options for all.
        work_dir: Scratch disk; every process but the first has a directory of its own under it.
        message: Where the report of all goes.
        stall_seconds: After how long without a movement a process ends itself.

    """
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    work_dir.mkdir(parents=True, exist_ok=True)
    children = [_start(place, arguments, work_dir) for place in places]
    try:
        _watch(children, _LATE * stall_seconds)
    finally:
        for child in children:
            child.process.kill()
    return _conclude(children, message)


def _start(place: Place, arguments: Sequence[str], work_dir: Path) -> _Child:
    directory = work_dir / f"rank-{place.local_rank}" if place.local_rank else work_dir
    message = work_dir / f"rank-{place.local_rank}.message"
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    os.set_blocking(writing, False)
    own = [f"--work-dir={directory}", f"--termination-message-path={message}"]
    process = subprocess.Popen(
        [sys.executable, "-m", "finetune_trainer", *arguments, *own],
        env=os.environ | place.environment() | {PULSE_FD: str(writing)},
        pass_fds=[writing],
    )
    os.close(writing)
    return _Child(place, process, message, reading, time.monotonic() + _STARTING_SECONDS)


def _watch(children: Sequence[_Child], limit: float) -> None:
    """Hand on signals, and kill what is silent or outlives a failure, until all have ended."""
    failed_at: float | None = None
    while alive := [child for child in children if not child.has_ended()]:
        if signal.sigtimedwait({signal.SIGTERM}, _LOOK_SECONDS) is not None:
            for child in alive:
                child.process.terminate()
        for child in alive:
            if child.is_silent(limit) and not child.has_ended() and not child.killed:
                child.kill(f"it has not shown for {limit:.0f} seconds that it is alive")
        if failed_at is None and any(child.process.returncode not in _STOPPED for child in children if child.ended):
            failed_at = time.monotonic()
        if failed_at is not None and time.monotonic() - failed_at > _PATIENCE_SECONDS:
            for child in alive:
                child.kill(f"it outlives another process's failure by {_PATIENCE_SECONDS:.0f} seconds")


def _conclude(children: Sequence[_Child], message: Path) -> int:
    """Leave the report of all, and return the exit code that belongs to it."""
    first = children[0]
    failed = [child for child in children if child.process.returncode != 0]
    if not failed:
        message.write_bytes(first.message.read_bytes())
        return 0
    culprit = min(failed, key=_order)
    code, report = _end_of(culprit)
    # What the first one knows of the run (epoch, checkpoint, steps) stands beside the reason of whoever failed.
    of_run = _report(first.message) or report
    message.write_text(compact(of_run.model_copy(update={"outcome": report.outcome, "failure": report.failure})))
    return code


def _order(child: _Child) -> tuple[bool, bool, float]:
    """Whose end is that of all: not of those that only missed another one, and of the others the first to end."""
    report = _report(child.message)
    is_bereaved = report is not None and report.failure is not None and report.failure.reason in BEREAVED
    return is_bereaved, "outlives" in child.killed, child.ended or 0.0


def _end_of(child: _Child) -> tuple[int, TrainerReport]:
    code, report = child.process.returncode, _report(child.message)
    if report is not None and code > 0:
        return code, report
    failure = as_failure(_unreported(child))
    blank = {"kind": "train", "outcome": "failed", "spec_digest": "", "failure": failure}
    return int(ExitCode.INFRASTRUCTURE), TrainerReport.model_validate(blank)


def _unreported(child: _Child) -> InfrastructureError:
    code = child.process.returncode
    how = child.killed or (f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}")
    return InfrastructureError(
        reason=Reason.HUNG if child.killed else Reason.INTERNAL,
        message=f"rank {child.place.rank} of {child.place.count} ended without a report: {how}",
        advice="nothing to do at first: another attempt goes on from the last checkpoint. If it happens again, look at "
        "the pod's log; SIGKILL can mean that resources.memory did not suffice",
    )


def _report(path: Path) -> TrainerReport | None:
    try:
        return TrainerReport.model_validate_json(path.read_text())
    except (OSError, ValidationError):
        return None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
