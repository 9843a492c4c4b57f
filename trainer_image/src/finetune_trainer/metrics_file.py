"""`metrics.jsonl` read back: every optimiser step of a run, for its report and for trackers."""

import logging
from typing import Final

from pydantic import ValidationError

from finetune_api.base import Message

LOG: Final = logging.getLogger(__name__)
METRICS: Final = "metrics.jsonl"


class StepRecord(Message):
    """One line; `steplog.StepLog` says what each number is."""

    step: int
    total_steps: int
    loss: float
    grad_norm: float
    learning_rate: float
    tokens: int
    tokens_per_second: float
    validation_loss: float | None = None
    gpu_utilization: float | None = None
    """Per cent of the time that kernels ran, over the last second or so."""
    gpu_memory_bytes: int | None = None
    """The most that was allocated so far."""


def read_steps(content: str) -> list[StepRecord]:
    """The steps in their order; of one that was done again after a rollback the last record.

    A line that was cut off, as a killed process leaves one, is left out.
    """
    steps: dict[int, StepRecord] = {}
    for line in content.split("\n"):
        if not line.strip():
            continue
        try:
            record = StepRecord.model_validate_json(line)
        except ValidationError:
            LOG.warning("a line of the metrics cannot be read and is left out")
            continue
        steps[record.step] = record
    return [steps[step] for step in sorted(steps)]
