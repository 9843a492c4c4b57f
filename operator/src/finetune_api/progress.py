"""Progress lines: one prefixed JSON object on the trainer's stdout every few seconds, which the operator tails."""

from typing import Final, Literal

from pydantic import ValidationError

from finetune_api.base import Message
from finetune_api.report import SavedCheckpoint

PREFIX: Final = "@progress "

Stage = Literal["loading", "validating", "baseline", "rehearsing", "training", "evaluating", "uploading", "verifying"]
"""rehearsing: steps are made ready. On a GPU layers are compiled, and the largest micro-batch is tried."""


class Progress(Message):
    """Where the trainer is. Best effort: nothing depends on it."""

    stage: Stage
    step: int = 0
    total_steps: int = 0
    loss: float | None = None
    """Mean loss per supervised token since the last line."""
    tokens_per_second: float | None = None
    """Real tokens."""
    supervised_tokens_per_second: float | None = None
    """Those of them that the loss is on; of objectives that judge rows or pairs, these."""
    mfu: float | None = None
    """Model FLOPs utilisation: what the tokens need over what the GPUs are rated at; None where that is not known."""
    input_stall: float | None = None
    """Share of the time in steps that making batches took."""
    peak_memory_bytes: int | None = None
    """The most that the first process's GPU has held for tensors; without a GPU, that the process has held."""
    execution: str = ""
    """How steps are computed: micro-batch, packing, compiling, recomputation, and the memory predicted of it."""
    step_seconds: float = 0.0
    """Time that this attempt spent in optimiser steps."""
    eta_seconds: int | None = None
    """Until the end of training; evaluation and upload not counted."""
    rows: int = 0
    """Rows read so far, while the data is validated."""
    bytes: int = 0
    """Bytes of the data files read so far."""
    total_bytes: int = 0
    """Bytes of all data files."""
    checkpoint: SavedCheckpoint | None = None
    resumed_from_step: int | None = None
    """Step of the checkpoint that this attempt went on from."""


def encode(progress: Progress) -> str:
    """One line, without its line end."""
    return PREFIX + progress.model_dump_json(exclude_none=True)


def last_progress(log: str) -> Progress | None:
    """The newest progress in a piece of log; lines that do not parse are skipped."""
    for line in reversed(log.splitlines()):
        if line.startswith(PREFIX):
            try:
                return Progress.model_validate_json(line.removeprefix(PREFIX))
            except ValidationError:
                continue
    return None
