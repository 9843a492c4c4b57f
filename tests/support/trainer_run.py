"""The trainer's real entry point, given what the pod gives it: files, one environment variable, a process of its own.

A training that is started and waited for at once is forked from a process that has imported the libraries
(`trainer_fork`); what a test signals or watches, and the run that most tests look at, is the pod's command itself.
"""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from s3_server import SECRETS, S3Server
from trainer_fork import ForkedTrainer, ForkServer

from finetune_api.digest import spec_digest
from finetune_api.progress import PREFIX, Progress
from finetune_api.report import TrainerReport
from finetune_api.request import ENVIRONMENT_VARIABLE, TrainerRequest
from finetune_api.spec.job import FinetuneJobSpec
from finetune_api.termination_message import TERMINATION_MESSAGE_BYTES

ROOT: Final = Path(__file__).parents[2]
TIMEOUT_SECONDS: Final = 240
WHOLE: Final[dict[str, dict[str, Any]]] = {"training": {"maxSteps": 100}, "checkpoint": {"everySteps": 10}}
"""Sections of a job with time for something to happen: 100 steps, a checkpoint every 10."""


@dataclass(frozen=True)
class Outcome:
    """How a run of the trainer ended, as the operator sees it."""

    code: int
    message: bytes
    """The termination message."""
    output: str
    """stdout and stderr."""

    @property
    def report(self) -> TrainerReport:
        return TrainerReport.model_validate_json(self.message)

    @property
    def progress(self) -> list[Progress]:
        return list(progress_in(self.output.splitlines()))


@dataclass
class Bench:
    """Starts trainers with one model and one bucket."""

    s3: S3Server
    model_uri: str
    scratch: Path
    _fork: ForkServer = field(default_factory=ForkServer)

    def request(self, name: str, kind: str = "train", **sections: Any) -> TrainerRequest:
        """A small job's work order; `sections` are merged into the spec."""
        spec = {
            "model": {"uri": self.model_uri},
            "data": {"train": [{"uri": f"s3://team/{name}/data/"}], "maxTokens": 128},
            "training": {"maxSteps": 4, "epochs": 100, "tokensPerStep": 256, "learningRate": 0.01},
            "evaluation": {"maxNewTokens": 4, "metrics": ["exact_match", "chrf"]},
            "output": {"uri": f"s3://team/{name}/out"},
            "storage": {"endpoint": self.s3.endpoint, "credentials": {"secretName": "s3"}},
            "resources": {"gpus": {"count": 0}, "cpu": "1"},
        }
        for section, values in sections.items():
            spec[section] = {**spec.get(section, {}), **values}
        parsed = FinetuneJobSpec.model_validate(spec)
        return TrainerRequest(
            kind=kind,
            namespace="team",
            name=name,
            uid=f"uid-{name}",
            spec=parsed,
            spec_digest=spec_digest(parsed),
        )

    def validated(self, name: str, **sections: Any) -> TrainerRequest:
        """The work order to train a small job, after its preflight, as the operator makes it."""
        return self.after(self.preflight(name, **sections), name, **sections)

    def after(self, preflight: "Outcome", name: str, **sections: Any) -> TrainerRequest:
        """The work order to train that follows a preflight."""
        assert preflight.code == 0, preflight.output
        report = preflight.report
        digests = {"data_digest": report.data.digest, "prepared_digest": report.prepared.digest}
        return self.request(name, **sections).model_copy(update=digests)

    def start(
        self, request: TrainerRequest, credentials: Path | None = None, more: Mapping[str, str] | None = None
    ) -> "Running":
        """Start a trainer, with `more` variables, and return at once."""
        scratch = self.new_scratch()
        command = [sys.executable, "-m", "finetune_trainer", *self.arguments(request, scratch, credentials)]
        log = (scratch / "log").open("wb")
        environment = self.environment(request) | (more or {})
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        log.close()
        return Running(process, scratch)

    @property
    def models(self) -> Path:
        """The volume of spec.resources.modelCache, which all trainers share."""
        path = self.scratch.with_name("models")
        path.mkdir(exist_ok=True)
        return path

    def new_scratch(self) -> Path:
        """A directory for one trainer."""
        scratch = self.scratch / f"run-{len(list(self.scratch.iterdir()))}"
        scratch.mkdir()
        return scratch

    def arguments(self, request: TrainerRequest, scratch: Path, credentials: Path | None = None) -> list[str]:
        """The command line after `python -m finetune_trainer`."""
        return [
            request.kind, f"--work-dir={scratch / 'work'}", f"--model-cache={self.models}",
            f"--credentials-dir={credentials or self.s3.credentials_dir}",
            f"--ca-file={scratch / 'no-ca.crt'}", f"--termination-message-path={scratch / 'message'}",
        ]  # fmt: skip

    def environment(self, request: TrainerRequest) -> dict[str, str]:
        """The variables that a trainer starts with."""
        # Without byte code on disk, importing torch alone takes half a minute.
        dropped = ("AWS_", "FINETUNE_", "PYTHONDONTWRITEBYTECODE")
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(dropped)}
        return {
            **inherited,
            "PYTHONPATH": f"{ROOT / 'operator/src'}:{ROOT / 'trainer_image/src'}",
            ENVIRONMENT_VARIABLE: request.model_dump_json(exclude_none=True),
        }

    def run(self, request: TrainerRequest, credentials: Path | None = None) -> Outcome:
        """Run a trainer to its end; to train, a forked one. Preflight is one that must never have seen torch."""
        if request.kind != "train":
            return self.start(request, credentials).wait()
        scratch = self.new_scratch()
        log = scratch / "log"
        process = self._fork(self.arguments(request, scratch, credentials), self.environment(request), log)
        return Running(process, scratch).wait()

    def preflight(self, name: str, **sections: Any) -> Outcome:
        """Run the preflight of a small job."""
        return self.run(self.request(name, "preflight", **sections))

    def train(self, name: str, **sections: Any) -> Outcome:
        """Run preflight and training of a small job."""
        return self.run(self.validated(name, **sections))

    def digest(self, name: str) -> str:
        """The digest of a job's data, as preflight reports it."""
        content = hashlib.sha256(self.s3.get(f"s3://team/{name}/data/rows.jsonl")).hexdigest()
        lines = f"train {content}\n"
        return f"sha256:{hashlib.sha256(lines.encode()).hexdigest()}"

    def put_rows(self, name: str, rows: list[dict[str, Any]]) -> None:
        """Write a job's data set, one file."""
        body = "".join(json.dumps(row) + "\n" for row in rows)
        self.s3.put(f"{name}/data/rows.jsonl", body.encode())


@dataclass(frozen=True)
class Finished:
    """A job with its result in S3."""

    bench: Bench
    preflight: Outcome
    training: Outcome
    root: str = "s3://team/whole/out/"


@dataclass
class Running:
    """A trainer at work."""

    process: subprocess.Popen[bytes] | ForkedTrainer
    scratch: Path

    def wait(self) -> Outcome:
        """Wait for the end; a hang fails the test."""
        try:
            code = self.process.wait(TIMEOUT_SECONDS)
        finally:
            self.process.kill()
        message = self.scratch / "message"
        outcome = Outcome(code, message.read_bytes() if message.exists() else b"", self._output())
        # What must hold for every run, however it ends.
        assert len(outcome.message) <= TERMINATION_MESSAGE_BYTES
        assert not any(secret in text for secret in SECRETS for text in (outcome.output, outcome.message.decode()))
        return outcome

    def stop(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def wait_for(self, condition: Callable[[Progress], bool]) -> None:
        """Wait for a progress line; the trainer's end before it fails the test."""
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while not any(condition(progress) for progress in progress_in(self._output().splitlines())):
            assert self.process.poll() is None, self._output()
            assert time.monotonic() < deadline, "no such progress"
            time.sleep(0.01)

    def _output(self) -> str:
        return (self.scratch / "log").read_text(errors="replace")


def progress_in(lines: list[str]) -> Iterator[Progress]:
    """Progress lines, in order."""
    return (
        Progress.model_validate_json(line.removeprefix(PREFIX))
        for line in lines
        if line.startswith(PREFIX) and line.endswith("}")
    )


def add_rows(count: int) -> list[dict[str, str]]:
    """Rows of a task with a rule: sums of two digits."""
    pairs = [(a, b) for a in range(20) for b in range(20)]
    return [{"instruction": f"{a} plus {b}", "response": f"{a + b}"} for a, b in pairs[:count]]
