"""The proof that the adapter works: read back from S3 and scored in a clean process, as a user would load it.

The process shares nothing with the one that trained but the base model's files. It loads the adapter by
plain peft, scores a fixed sample of test rows, and the score must be what it was in memory.
"""

import logging
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from finetune_api.base import Message
from finetune_api.conditions import Reason
from finetune_trainer.context import Context
from finetune_trainer.data.encode import Tokenized
from finetune_trainer.data.problems import Source
from finetune_trainer.errors import InfrastructureError

LOG: Final = logging.getLogger(__name__)
SAMPLE_ROWS: Final = 64
TOLERANCE: Final = 1e-3
"""Largest accepted difference of the mean loss per token."""
_POLL_SECONDS: Final = 0.2


class SampleRow(Message):
    """One row of the sample."""

    token_ids: list[int]
    weights: list[float]


class Sample(Message):
    """What the clean process is told."""

    adapter_uri: str
    model_directory: str
    batch_tokens: int
    rows: list[SampleRow]


class Score(Message):
    """What it answers."""

    loss: float
    """Mean per supervised token."""


def verify(context: Context, sample: Sample, expected_loss: float, options: list[str]) -> float:
    """Score the uploaded adapter in a clean process.

    Args:
        context: The run that uploaded it.
        sample: Adapter, base model and rows.
        expected_loss: Loss of the same rows in memory.
        options: Command-line options that lead the process to S3; no secrets.

    Returns:
        The absolute difference of the two losses.

    Raises:
        InfrastructureError: ArtifactMismatch.
        StopRequested: SIGTERM came meanwhile.

    """
    path = context.work_dir / "sample.json"
    path.write_text(sample.model_dump_json())
    answer = _run(context, [sys.executable, "-m", "finetune_trainer", "verify", "--sample", str(path), *options])
    difference = abs(Score.model_validate_json(answer).loss - expected_loss)
    LOG.info("the adapter read back from S3 scores the same (difference %.2g)", difference)
    if not difference <= TOLERANCE:
        raise _mismatch(f"its loss differs by {difference:.3g}, more than {TOLERANCE:g}")
    return difference


def score_sample(context: Context, sample: Sample) -> Score:
    """Score an adapter from S3; runs in the clean process."""
    # Here and not above: the parent must not need these to start the process, and `--help` should be quick.
    from peft import PeftModel  # noqa: PLC0415

    from finetune_trainer.evaluate.score import mean_loss, score  # noqa: PLC0415
    from finetune_trainer.model import load_base, resolve_device, resolve_dtype  # noqa: PLC0415

    spec = context.request.spec
    directory = context.work_dir / "verify"
    context.storage.download(context.storage.list_objects(sample.adapter_uri), directory)
    device = resolve_device(spec.resources.gpus.count)
    dtype = resolve_dtype(spec.training.precision, device)
    base = load_base(Path(sample.model_directory), dtype=dtype, device=device)
    model = PeftModel.from_pretrained(base, str(directory)).eval()
    rows = [
        Tokenized(row.token_ids, row.weights, Source("sample", number))
        for number, row in enumerate(sample.rows, start=1)
    ]
    return Score(loss=mean_loss(score(model, rows, sample.batch_tokens)))


def _run(context: Context, command: list[str]) -> str:
    """Run a command to its end, or to a stop request; its stdout."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            while process.poll() is None:
                context.stop.check()
                time.sleep(_POLL_SECONDS)
        finally:
            process.kill()
        output = process.stdout.read() if process.stdout else ""
    if process.returncode != 0:
        raise _mismatch(f"it cannot be loaded and scored in a clean process (exit code {process.returncode})")
    return output


def _mismatch(what: str) -> InfrastructureError:
    return InfrastructureError(
        reason=Reason.ARTIFACT_MISMATCH,
        message=f"the adapter was read back from S3: {what}",
        advice="Nothing to do at first: another attempt publishes it anew. If that fails too, check S3.",
    )
