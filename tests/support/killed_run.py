"""One job that is trained again and again, killed from outside and resumed, and held against an unbroken run.

What is asked of every attempt, however it ends: no traceback, no child that outlives it, and what it resumes from is
the newest checkpoint that is whole, which is looked up in the bucket before it starts. And of every job: the adapter is
bit for bit that of the unbroken run.
"""

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

from botocore.exceptions import ClientError
from fault_proxy import FaultProxy, Rule
from s3_server import BUCKET, SECRETS
from trainer_run import Bench, Outcome, add_rows

from finetune_api.exit_codes import ExitCode
from finetune_api.progress import PREFIX

NAME: Final = "breakable"
TIMEOUT_SECONDS: Final = 600
STEPS: Final = 60
EVERY: Final = 10
SECTIONS: Final[dict[str, dict[str, Any]]] = {
    # Dropout draws random numbers at every step, which a resumed run must draw again.
    "method": {"lora": {"dropout": 0.1}},
    "training": {"maxSteps": STEPS, "tokensPerStep": 1024},
    "checkpoint": {"everySteps": EVERY, "keep": 2},
}
"""A job of 60 steps with a checkpoint after every 10."""
ADAPTER: Final = "adapter/adapter_model.safetensors"
_POLL_SECONDS: Final = 0.005


class Process(Protocol):
    """A trainer's process, the first of its group."""

    pid: int

    def poll(self) -> int | None: ...

    def wait(self, timeout: float) -> int: ...


Launch = Callable[[Sequence[str], Mapping[str, str], Path], Process]


def command_line(arguments: Sequence[str], environment: Mapping[str, str], log: Path) -> Process:
    """Start a trainer as the pod does, in a process group of its own."""
    with log.open("wb") as output:
        command = [sys.executable, "-m", "finetune_trainer", *arguments]
        return subprocess.Popen(command, env=environment, stdout=output, stderr=output, process_group=0)


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint in the bucket that has a manifest, and every file as the manifest says."""

    prefix: str
    step: int


@dataclass(frozen=True)
class Ended:
    """How an attempt ended."""

    outcome: Outcome
    stages: dict[str, float]
    """When each stage was first told of, in seconds since the start."""
    seconds: float
    resumed: str | None
    """Prefix of the checkpoint that it says it resumed from."""
    executed: int
    """Steps that it did, by its metrics file."""
    newest: Checkpoint | None
    """The newest whole checkpoint before it started."""

    @property
    def succeeded(self) -> bool:
        return self.outcome.code == ExitCode.SUCCESS

    @property
    def log(self) -> str:
        return self.outcome.output


@dataclass
class Attempt:
    """A trainer at work."""

    process: Process
    scratch: Path
    newest: Checkpoint | None
    """The newest whole checkpoint when it was started."""
    started: float = field(default_factory=time.monotonic)
    _stages: dict[str, float] = field(default_factory=dict)

    def look(self) -> str:
        """The log so far; the time of new stages is noted."""
        path = self.scratch / "log"
        log = path.read_text(errors="replace") if path.exists() else ""
        for stage in re.findall(rf'^{PREFIX}{{"stage":"(\w+)"', log, re.MULTILINE):
            self._stages.setdefault(stage, time.monotonic() - self.started)
        return log

    def wait_until(self, condition: Callable[[], Any], what: object) -> None:
        """Wait; the trainer's end before it fails the test."""
        while not condition():
            self.look()
            assert self.process.poll() is None, f"it ended before {what}:\n{self.look()}"
            self._require_time(f"no {what}")
            time.sleep(_POLL_SECONDS)

    def wait_for(self, line: str) -> None:
        """Wait for a line of the log that matches."""
        self.wait_until(lambda: re.search(line, self.look(), re.MULTILINE), repr(line))

    def pause(self, seconds: float) -> None:
        """Let it work on for so long."""
        self.look()
        time.sleep(seconds)

    def signal(self, number: signal.Signals) -> bool:
        """Signal the whole process group, children included; whether it was still at work."""
        while self.process.poll() is None and os.getpgid(self.process.pid) != self.process.pid:
            time.sleep(_POLL_SECONDS)  # a forked one has not left its server's group yet
        if self.process.poll() is not None:
            return False
        os.killpg(self.process.pid, number)
        return True

    def wait(self) -> Ended:
        """Wait for the end of the whole group, and check what must hold however it ends; a hang fails the test."""
        try:
            while self.process.poll() is None:
                self._require_time("it hangs")
                time.sleep(_POLL_SECONDS)
                self.look()
        finally:
            self.signal(signal.SIGKILL)
        code = self.process.wait(TIMEOUT_SECONDS)
        while alive := members(self.process.pid):
            self._require_time(f"its children {alive} outlive it")
            time.sleep(_POLL_SECONDS)
        message, log = self.scratch / "message", self.look()
        resumed = re.search(r"resuming after step (\d+) from (\S+)", log)
        ended = Ended(
            outcome=Outcome(code, message.read_bytes() if message.exists() else b"", log),
            stages=self._stages,
            seconds=time.monotonic() - self.started,
            resumed=resumed and resumed[2],
            executed=self._executed(int(resumed[1]) if resumed else 0),
            newest=self.newest,
        )
        assert "Traceback (most recent call last)" not in log, log
        assert not any(secret in log for secret in SECRETS), "a secret is in the log"
        if ended.resumed:
            assert self.newest is not None, f"{ended.resumed} is not whole, but was resumed from"
            assert ended.resumed == self.newest.prefix, "another checkpoint is whole and newer"
        return ended

    def _executed(self, resumed_step: int) -> int:
        metrics = self.scratch / "work" / "metrics.jsonl"
        lines = metrics.read_text().splitlines() if metrics.exists() else []
        return sum(json.loads(line)["step"] > resumed_step for line in lines)

    def _require_time(self, what: str) -> None:
        assert time.monotonic() < self.started + TIMEOUT_SECONDS, f"{what}:\n{self.look()}"


def members(group: int) -> list[int]:
    """Processes of a group that are not dead."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, its_group = stat.read_text().rpartition(")")[2].split()[:3]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(its_group) == group and state != "Z":
            found.append(int(stat.parent.name))
    return found


class BreakableJob:
    """One job, whose output is emptied before each trial."""

    def __init__(self, bench: Bench, proxy: FaultProxy, launch: Launch) -> None:
        """Prepare the job, and run it once, unbroken."""
        self.bench, self.proxy, self.launch = bench, proxy, launch
        bench.put_rows(NAME, add_rows(400))
        self.request = bench.validated(NAME, **SECTIONS, storage={"endpoint": proxy.endpoint})
        self.root = f"{self.request.spec.output.uri}/"
        self._prepared = set(bench.s3.keys(self.root))
        self.proxy.inject()
        self.unbroken = self.start().wait()
        """An attempt that nothing happened to."""
        assert self.unbroken.succeeded, self.unbroken.log
        assert self.unbroken.executed == STEPS
        self.uploaded = {
            seen.path.partition("/out/")[2] for seen in proxy.log if seen.method == "PUT" and "/out/" in seen.path
        }
        """Keys that it wrote, below the output."""
        self.adapter = self.published_adapter()
        """SHA-256 of the adapter that it published."""

    def begin(self, *rules: Rule) -> None:
        """Begin a trial: an output as preflight leaves it, and these faults."""
        self.proxy.inject(*rules)
        self.remove(key for key in self.bench.s3.keys(self.root) if key not in self._prepared)

    def start(self, launch: Launch | None = None) -> Attempt:
        """Start an attempt."""
        scratch = self.bench.new_scratch()
        newest = next(iter(self.whole_checkpoints()), None)
        arguments = self.bench.arguments(self.request, scratch)
        process = (launch or self.launch)(arguments, self.bench.environment(self.request), scratch / "log")
        return Attempt(process, scratch, newest)

    def finish(self, launch: Launch | None = None) -> Ended:
        """Run the attempt that must bring the job to its end, and compare the result with that of the unbroken run."""
        last = self.start(launch).wait()
        assert last.succeeded, last.log
        assert self.published_adapter() == self.adapter, "the adapter is not that of the unbroken run"
        if last.outcome.report.adopted:
            assert last.executed == 0
        else:
            committed = last.newest.step if last.newest else 0
            assert last.resumed == (last.newest and last.newest.prefix)
            assert last.executed == STEPS - committed
        return last

    def whole_checkpoints(self) -> list[Checkpoint]:
        """Look up every checkpoint that is whole, newest first, without the trainer's code."""
        whole = [found for found in map(self._checkpoint, self.keys("checkpoints/")) if found]
        return sorted(whole, key=lambda each: (each.step, each.prefix), reverse=True)

    def begun_checkpoints(self) -> list[str]:
        """Prefixes of the checkpoints whose upload has begun in this trial, in that order."""
        begun = (re.search(r"/out/(checkpoints/[^/]+/)", seen.path) for seen in self.proxy.log if seen.method == "PUT")
        return list(dict.fromkeys(self.root + found[1] for found in begun if found))

    def _checkpoint(self, key: str) -> Checkpoint | None:
        if not key.endswith("/manifest.json"):
            return None
        prefix = self.root + key.removesuffix("manifest.json")
        try:
            manifest = json.loads(self.bench.s3.get(self.root + key))
            for entry in manifest["files"]:
                content = self.bench.s3.get(prefix + entry["name"])
                if (len(content), hashlib.sha256(content).hexdigest()) != (entry["size"], entry["sha256"]):
                    return None
        except (ValueError, ClientError):
            return None
        return Checkpoint(prefix, manifest["step"])

    def published_adapter(self) -> str:
        """SHA-256 of the adapter that the final manifest names."""
        manifest = json.loads(self.bench.s3.get(f"{self.root}manifest.json"))
        return hashlib.sha256(self.bench.s3.get(f"{manifest['prefix']}{ADAPTER}")).hexdigest()

    def keys(self, folder: str = "") -> list[str]:
        """Keys of a folder of the output, relative to the output."""
        return [folder + key for key in self.bench.s3.keys(self.root + folder)]

    def snapshot(self) -> dict[str, bytes]:
        """Every object that was added since preflight."""
        return {key: self.bench.s3.get(self.root + key) for key in self.keys() if key not in self._prepared}

    def put(self, objects: Mapping[str, bytes]) -> None:
        """Write objects under the output."""
        for key, content in objects.items():
            self.bench.s3.put(f"{self.root}{key}".removeprefix(f"s3://{BUCKET}/"), content)

    def remove(self, keys: Iterable[str]) -> None:
        """Remove objects under the output."""
        for key in keys:
            self.bench.s3.client().delete_object(Bucket=BUCKET, Key=f"{self.root}{key}".removeprefix(f"s3://{BUCKET}/"))
