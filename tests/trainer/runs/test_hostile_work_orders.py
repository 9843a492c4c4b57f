"""What a work order may try with the pod itself: its node's identity, its time, its memory."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from trainer_run import Bench, Outcome, add_rows

from finetune_api.conditions import Reason
from finetune_api.exit_codes import ExitCode


@pytest.fixture(autouse=True, scope="module")
def _rows(bench: Bench) -> None:
    bench.put_rows("hostile", add_rows(60))


@pytest.fixture
def metadata_service() -> Iterator[tuple[str, list[str]]]:
    """What a node of a cloud has at 169.254.169.254, and what it was asked; it would give the node's role."""
    asked: list[str] = []

    class Service(BaseHTTPRequestHandler):
        def answer(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"token")

        do_GET = do_PUT = answer  # noqa: N815

    server = ThreadingHTTPServer(("127.0.0.1", 0), Service)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}", asked
    server.shutdown()


def test_a_job_without_an_identity_is_not_given_its_nodes(
    bench: Bench, metadata_service: tuple[str, list[str]], tmp_path: Path
) -> None:
    url, asked = metadata_service
    request = bench.request("hostile", "preflight")
    storage = request.spec.storage.model_copy(update={"credentials": None})
    request = request.model_copy(update={"spec": request.spec.model_copy(update={"storage": storage})})
    variables = {"AWS_EC2_METADATA_SERVICE_ENDPOINT": url, "AWS_CONFIG_FILE": "/nowhere", "HOME": str(tmp_path)}
    done = bench.start(request, tmp_path, variables).wait()
    assert (done.code, done.report.failure.reason) == (ExitCode.CREDENTIALS, Reason.ACCESS_DENIED), done.output
    assert "the pod has no S3 identity" in done.report.failure.message
    assert asked == []


ENDLESS = "{% set s = 'a' * 100000 %}{% for a in s %}{% for b in s %}{% endfor %}{% endfor %}"


PATIENT_FOR_SECONDS = """
import sys
sys.modules["torch"] = None
from transformers import AutoConfig, AutoTokenizer, PreTrainedTokenizerFast
import finetune_trainer.command_line as trainer
trainer._LONG_SECONDS = 1.0
sys.exit(trainer.main(sys.argv[1:]))
"""
"""The trainer, whose work order says how long nothing may move; what takes long to import is there before."""


@pytest.mark.slow(name="endless template", minutes=1)
def test_a_template_that_never_ends_does_not_keep_its_pod(bench: Bench) -> None:
    sections = {
        "data": {"template": {"name": "jinja", "jinja": ENDLESS}},
        "training": {"guards": {"stallMinutes": 0.2}},
    }
    request, scratch = bench.request("hostile", "preflight", **sections), bench.new_scratch()
    done = subprocess.run(
        [sys.executable, "-c", PATIENT_FOR_SECONDS, *bench.arguments(request, scratch)],
        env=bench.environment(request), capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    outcome = Outcome(done.returncode, (scratch / "message").read_bytes(), done.stderr)
    assert (outcome.code, outcome.report.failure.reason) == (ExitCode.INFRASTRUCTURE, Reason.HUNG), done.stderr
    assert "chat_template" in outcome.report.failure.message
