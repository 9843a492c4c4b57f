"""The proof that the artifact works: read back from S3 and scored in a clean process, as a user would load it.

The process shares nothing with the one that trained but the base model's files. It loads the adapter or the whole
model by plain peft and transformers, scores a fixed sample of test rows, and the score must be what it was in memory.
"""

import logging
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal

from pydantic import ValidationError

from finetune_api.base import Message
from finetune_api.conditions import Reason
from finetune_api.report import Failure
from finetune_trainer.context import Context
from finetune_trainer.data.encode import Tokenized
from finetune_trainer.data.item import Item
from finetune_trainer.data.problems import Source
from finetune_trainer.errors import CredentialsError, InfrastructureError, OutOfMemoryError_, TrainerError
from finetune_trainer.hyperparameters import Hyperparameters
from finetune_trainer.place import alone

LOG: Final = logging.getLogger(__name__)
SAMPLE_ROWS: Final = 64
TOLERANCE: Final = 1e-3
"""Largest accepted difference of the mean loss."""
_POLL_SECONDS: Final = 0.2
_NOT_OF_THE_ARTIFACT: Final[Mapping[Reason, type[TrainerError]]] = {
    Reason.STORAGE_UNAVAILABLE: InfrastructureError,
    Reason.ACCESS_DENIED: CredentialsError,
    Reason.OUT_OF_MEMORY: OutOfMemoryError_,
}
"""Reasons for which the clean process can fail though the artifact is sound."""


class SampleSequence(Message):
    """One sequence of an item."""

    token_ids: list[int]
    weights: list[float]


class SampleItem(Message):
    """One item of the sample."""

    sequences: list[SampleSequence]
    label: int

    @classmethod
    def of(cls, item: Item) -> "SampleItem":
        """The item in a form that crosses processes."""
        sequences = [
            SampleSequence(token_ids=list(each.token_ids), weights=list(each.weights)) for each in item.sequences
        ]
        return cls(sequences=sequences, label=item.label)

    def item(self, number: int) -> Item:
        """The item again."""
        source = Source("sample", number)
        return Item(tuple(Tokenized(each.token_ids, each.weights, source) for each in self.sequences), self.label)


class Sample(Message):
    """What the clean process is told."""

    kind: Literal["adapter", "model"]
    artifact_uri: str
    model_directory: str
    """The base model on disk."""
    settings: Hyperparameters
    items: list[SampleItem]


class Score(Message):
    """What it answers."""

    loss: float
    """Mean of the objective's loss over the sample."""


def verify(context: Context, sample: Sample, expected_loss: float, options: list[str]) -> float:
    """Score the uploaded artifact in a clean process.

    Args:
        context: The run that uploaded it.
        sample: Artifact, base model and items.
        expected_loss: Loss of the same items in memory.
        options: Command-line options that lead the process to S3; no secrets.

    Returns:
        The absolute difference of the two losses.

    Raises:
        InfrastructureError: ArtifactMismatch.
        TrainerError: The process could not read from S3, or has too little memory.
        StopRequested: SIGTERM came meanwhile.

    """
    path = context.work_dir / "sample.json"
    path.write_text(sample.model_dump_json())
    answer = _run(context, [sys.executable, "-m", "finetune_trainer", "verify", "--sample", str(path), *options])
    difference = abs(Score.model_validate_json(answer).loss - expected_loss)
    LOG.info("the artifact read back from S3 scores the same (difference %.2g)", difference)
    if not difference <= TOLERANCE:
        raise _mismatch(f"its loss differs by {difference:.3g}, more than {TOLERANCE:g}")
    return difference


def score_sample(context: Context, sample: Sample) -> Score:
    """Score an artifact from S3; runs in the clean process."""
    # Here and not above: the parent must not need these to start the process, and `--help` should be quick.
    from finetune_trainer.artifact import SavedArtifact, load_artifact  # noqa: PLC0415
    from finetune_trainer.loop import micro_batch_tokens  # noqa: PLC0415
    from finetune_trainer.model import resolve_device, resolve_dtype  # noqa: PLC0415
    from finetune_trainer.objectives.choose import sample_loss  # noqa: PLC0415

    spec = context.request.spec
    directory = context.work_dir / "verify"
    shutil.rmtree(directory, ignore_errors=True)  # another form of the artifact may have been there before
    context.storage.download(context.storage.list_objects(sample.artifact_uri), directory)
    device = resolve_device(spec.resources.gpus.count)
    with context.stop.interrupting():
        model = load_artifact(
            SavedArtifact(sample.kind, directory),
            Path(sample.model_directory),
            dtype=resolve_dtype(spec.training.precision, device),
            device=device,
            four_bit=spec.method.type == "qlora",
        )
    items = [item.item(number) for number, item in enumerate(sample.items, start=1)]
    return Score(loss=sample_loss(model, spec.objective, items, micro_batch_tokens(sample.settings)))


def _run(context: Context, command: list[str]) -> str:
    """Run a command to its end, or to a stop request; its stdout."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=alone(os.environ)) as process:
        try:
            while process.poll() is None:
                context.stop.check()
                time.sleep(_POLL_SECONDS)
        finally:
            process.kill()
        output = process.stdout.read() if process.stdout else ""
    context.stop.check()  # where the whole process group is asked to stop, the process ends before the next look
    if process.returncode != 0:
        raise _told(output) or _mismatch(
            f"it cannot be loaded and scored in a clean process (exit code {process.returncode})"
        )
    return output


def _told(output: str) -> TrainerError | None:
    """Why the process failed by its own account, where that says nothing against the artifact."""
    try:
        failure = Failure.model_validate_json(output)
    except ValidationError:
        return None
    if failure.reason not in _NOT_OF_THE_ARTIFACT:
        return None
    return _NOT_OF_THE_ARTIFACT[failure.reason](
        reason=failure.reason, message=f"the artifact was to be verified: {failure.message}", advice=failure.advice
    )


def _mismatch(what: str) -> InfrastructureError:
    return InfrastructureError(
        reason=Reason.ARTIFACT_MISMATCH,
        message=f"the artifact was read back from S3: {what}",
        advice="Nothing to do at first: another attempt publishes it anew. If that fails too, check S3.",
    )
