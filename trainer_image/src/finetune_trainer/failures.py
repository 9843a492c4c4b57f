"""Any exception as one of the trainer's errors, these as the report tells them, and texts without secrets."""

import errno
import logging
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from finetune_api.conditions import Reason
from finetune_api.exit_codes import RULE_BY_CODE
from finetune_api.report import Failure
from finetune_trainer.errors import InfrastructureError, OutOfMemoryError_, SettingsError, TrainerError
from finetune_trainer.gpu_errors import gpu_fault, is_out_of_memory

_MASK: Final = "***"
_SHORTEST_SECRET: Final = 4
"""Shorter values are not hidden: masking them would eat ordinary words."""


def as_trainer_error(error: BaseException) -> TrainerError:
    """Classify what ended a run; what nobody foresaw is a fault of software or machine, worth another attempt."""
    if isinstance(error, TrainerError):
        return error
    if is_out_of_memory(error):
        return OutOfMemoryError_(
            reason=Reason.OUT_OF_MEMORY,
            message=f"memory did not suffice: {_first_line(error)}",
            advice="Lower training.microBatchTokens, evaluation.batchSize or data.maxTokens, or request more memory.",
        )
    fault = gpu_fault(error)
    if fault is not None:
        return fault
    if _is_lost_rank(error):
        return lost_rank(f"another process of this run does not answer any more: {_first_line(error)}")
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return SettingsError(
            reason=Reason.SCRATCH_FULL,
            message="spec.resources.scratch: the scratch disk is full",
            advice="Raise spec.resources.scratch.",
        )
    return InfrastructureError(
        reason=Reason.INTERNAL,
        message=f"unexpected {type(error).__name__}: {_first_line(error)}",
        advice="See the pod's log; if it happens again on another node, report it with that log.",
    )


def as_failure(error: TrainerError) -> Failure:
    """An error as the report tells it."""
    rule = RULE_BY_CODE[int(error.exit_code)]
    return Failure(
        failure_class=rule.failure_class,
        reason=error.reason,
        message=error.message,
        advice=error.advice,
        retryable=rule.retryable,
    )


def lost_rank(message: str) -> InfrastructureError:
    """The fault of a process that others have left alone; whoever ended first says why."""
    return InfrastructureError(
        reason=Reason.RANK_LOST,
        message=message,
        advice="Nothing to do at first: all processes begin again from the last checkpoint. The logs of the others say "
        "which of them ended first, and why.",
    )


class Redactor(logging.Formatter):
    """Formats log records, tracebacks included, with the job's secrets masked."""

    def __init__(self, secrets: Iterable[str]) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S")
        self._secrets = sorted((each for each in secrets if len(each) >= _SHORTEST_SECRET), key=len, reverse=True)

    def format(self, record: logging.LogRecord) -> str:
        """Format a record."""
        return self.clean(super().format(record))

    def clean(self, text: str) -> str:
        """The text with every secret masked."""
        for secret in self._secrets:
            text = text.replace(secret, _MASK)
        return text

    def clean_error(self, error: TrainerError) -> TrainerError:
        """The same error with secrets masked in what users see."""
        return type(error)(reason=error.reason, message=self.clean(error.message), advice=self.clean(error.advice))


def secrets_in(directory: Path) -> list[str]:
    """The values of a mounted Secret that nobody may see; the access key's id is no secret."""
    paths = [directory / name for name in ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")]
    return [path.read_text(errors="replace").strip() for path in paths if path.is_file()]


def _is_lost_rank(error: BaseException) -> bool:
    """Gloo tells of a broken or silent connection by a plain RuntimeError that names its source file."""
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(error, RuntimeError):
        return False
    return isinstance(error, torch.distributed.DistError) or "gloo/" in str(error)


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else "no message"
