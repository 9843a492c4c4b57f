"""Processes that compute by turns, a step each: whatever else the machine does then slows all of them alike."""

import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import IO, Any, Final

TURN: Final = "its turn is over"
"""The line by which a process says so. The next line that it is given begins its next turn."""


@dataclass
class Stopwatch:
    """A process's own clock; it stands still while others have their turns."""

    since: float
    """When the process began, by `time.perf_counter`."""
    synchronize: Callable[[], None]
    """Waits until the device has done what it was asked to."""
    by_turns: bool
    seconds: list[float] = field(default_factory=list)
    """What passed until the first look, and from each to the next."""

    def look(self) -> None:
        """Note the time; where turns are taken, wait for the next one."""
        self.synchronize()
        self.seconds.append(time.perf_counter() - self.since)
        if self.by_turns:
            print(TURN, flush=True)
            sys.stdin.readline()
        self.since = time.perf_counter()


def module(name: str, *arguments: str) -> list[str]:
    """The command of a module of this benchmark."""
    return [sys.executable, "-m", f"benchmarks.trainer.{name}", *arguments]


def by_turns(commands: Sequence[Sequence[str]]) -> list[dict[str, Any]]:
    """Run processes of which one computes at a time; what each says in its last line, which is JSON.

    They begin one after the other, each up to its first step.

    Raises:
        SystemExit: One has failed.

    """
    with contextlib.ExitStack() as ended:
        processes, waiting = [], []
        for command in commands:
            processes.append(process := ended.enter_context(_begun(command)))
            waiting += [process] if process.reaches_a_turns_end() else []
        while waiting:
            waiting = [process for process in waiting if process.takes_its_turn()]
        return [process.told() for process in processes]


@dataclass
class _Process:
    running: subprocess.Popen[str]
    errors: IO[str]
    said: str = ""

    def takes_its_turn(self) -> bool:
        """Let it compute; whether it has more to do."""
        print(file=self.running.stdin, flush=True)
        return self.reaches_a_turns_end()

    def reaches_a_turns_end(self) -> bool:
        for line in self.running.stdout or ():
            if line.strip() == TURN:
                return True
            self.said = line
        return False

    def told(self) -> dict[str, Any]:
        if self.running.wait():
            self.errors.seek(0)
            raise SystemExit(f"{self.running.args} failed:\n{self.errors.read()[-3000:]}")
        return dict(json.loads(self.said))


@contextlib.contextmanager
def _begun(command: Sequence[str]) -> Iterator[_Process]:
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, bufsize=1
        ) as running,
    ):
        try:
            yield _Process(running, errors)
        finally:
            running.kill()
