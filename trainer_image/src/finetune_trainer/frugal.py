"""The attempt after one whose memory did not suffice: the same steps and answers, in smaller pieces.

The attempt before has left its report in S3. Steps are as large as before: the result differs by rounding alone.
"""

import logging
from dataclasses import dataclass, replace
from typing import Final

from pydantic import ValidationError

from finetune_api.layout import OutputLayout
from finetune_api.report import TrainerReport
from finetune_api.spec.evaluation import Evaluation
from finetune_trainer.hyperparameters import Hyperparameters
from finetune_trainer.storage import Storage

LOG: Final = logging.getLogger(__name__)
_PARTS: Final = 4
"""In process, micro-batches have been split already; what remains is a matter of a little, or of another stage."""


@dataclass(frozen=True, slots=True)
class Portions:
    """How much is computed at once."""

    settings: Hyperparameters
    evaluation: Evaluation


def portions(
    storage: Storage, layout: OutputLayout, epoch: int, settings: Hyperparameters, evaluation: Evaluation
) -> Portions:
    """What the spec says, or a quarter of it where the attempt before `epoch` has run out of memory."""
    if epoch == 1 or not _ran_out(storage.read(f"{layout.run(epoch - 1)}report.json")):
        return Portions(settings, evaluation)
    smaller = max(1, settings.micro_batch // _PARTS)
    batch_size = max(1, evaluation.batch_size // _PARTS)
    LOG.warning(
        "attempt %d ran out of memory: this one takes micro-batches of %d tokens instead of %d, and %d prompts at once",
        epoch - 1,
        smaller,
        settings.micro_batch,
        batch_size,
    )
    return Portions(
        replace(settings, micro_batch_tokens=smaller),
        evaluation.model_copy(update={"batch_size": batch_size}),
    )


def _ran_out(content: bytes | None) -> bool:
    try:
        report = TrainerReport.model_validate_json(content or b"")
    except ValidationError:
        return False  # killed, so that there is none; or of a version that says it otherwise
    return report.failure is not None and report.failure.failure_class == "OutOfMemory"
