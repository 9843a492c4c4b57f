"""Trainers forked from a process that has imported their libraries already, for tests that start hundreds.

    forked = ForkServer()
    process = forked(["train", ...], environment, log)

A trainer spends seven seconds on importing torch, transformers and peft, and so does the process that verifies for it.
Python's own fork server imports them once; each trainer is a fork of it, in a process group of its own, and enters by
`finetune_trainer.command_line.main` as `python -m finetune_trainer` does; to verify it forks itself. What that leaves
out: the interpreter's start, the imports, what is read from the environment at import (HF_HOME is the server's), and
that the verifying process shares no memory with the one that trained and has a watchdog's last resort. Tests of those
start the true command.
"""

import faulthandler
import importlib
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

_AT_IMPORT = {
    "OMP_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}
"""What libraries read when they are imported, as the trainer sets it for one core."""


class ForkedTrainer:
    """A running trainer, with the part of `subprocess.Popen` that the tests use."""

    def __init__(self, process: multiprocessing.process.BaseProcess) -> None:
        self._process = process
        assert process.pid
        self.pid = process.pid

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        return self._process.exitcode

    def kill(self) -> None:
        """End it, if it has not ended."""
        self._process.kill()

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def wait(self, timeout: float) -> int:
        """Wait for the exit code."""
        self._process.join(timeout)
        code = self._process.exitcode
        if code is None:
            raise TimeoutError
        return code


class ForkServer:
    """Starts trainers."""

    def __init__(self) -> None:
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["finetune_trainer.attempt", "finetune_trainer.command_line"])

    def __call__(self, arguments: Sequence[str], environment: Mapping[str, str], log: Path) -> ForkedTrainer:
        """Start one; its output goes to `log`."""
        # The variables are for the server, which the first call starts.
        with mock.patch.dict(os.environ, {**_AT_IMPORT, "PYTHONPATH": environment["PYTHONPATH"]}):
            process = self._context.Process(target=enter, args=(list(arguments), dict(environment), str(log)))
            process.start()
        return ForkedTrainer(process)


def enter(arguments: list[str], environment: dict[str, str], log: str) -> None:
    """Become a trainer: what a fresh process has and a fork of the server has not."""
    os.setpgid(0, 0)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.environ.clear()
    os.environ.update(environment)
    verify = importlib.import_module("finetune_trainer.verify")
    verify.subprocess = SimpleNamespace(Popen=ForkedCommand, PIPE=subprocess.PIPE)
    sys.exit(run(arguments))


def run(arguments: list[str]) -> int:
    """Run the trainer's command line in this process."""
    return int(importlib.import_module("finetune_trainer.command_line").main(arguments))


class ForkedCommand:
    """Stands in for `subprocess.Popen` where a trainer starts `python -m finetune_trainer`."""

    def __init__(self, command: Sequence[str], *, stdout: int, text: bool, env: Mapping[str, str]) -> None:
        assert (list(command[1:3]), stdout, text) == (["-m", "finetune_trainer"], subprocess.PIPE, True)
        self.returncode: int | None = None
        output, its_output = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.dup2(its_output, 1)
            code = 1
            _forget_timers()
            os.environ.clear()
            os.environ.update(env)
            try:
                code = run(list(command[3:]))
                sys.stdout.flush()
            finally:
                os._exit(code)
        os.close(its_output)
        self.stdout = os.fdopen(output)

    def __enter__(self) -> "ForkedCommand":
        return self

    def __exit__(self, *_: object) -> None:
        self.stdout.close()
        if self.returncode is None:
            self._reap(0)

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        if self.returncode is None:
            self._reap(os.WNOHANG)
        return self.returncode

    def kill(self) -> None:
        """End it, if it has not ended."""
        if self.returncode is None:
            os.kill(self.pid, signal.SIGKILL)

    def _reap(self, options: int) -> None:
        pid, status = os.waitpid(self.pid, options)
        if pid:
            self.returncode = os.waitstatus_to_exitcode(status)


def _forget_timers() -> None:
    """A fork has its parent's timer, but not the thread that it runs in: whoever cancels it waits for ever."""
    vars(faulthandler).update(dump_traceback_later=lambda *_, **__: None, cancel_dump_traceback_later=lambda: None)
