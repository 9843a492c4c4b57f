"""The train command: refuse or adopt what can be refused or adopted at once, then make an attempt.

Torch takes ten seconds to load, so it is not imported before it is needed.
"""

import logging
from collections.abc import Sequence
from typing import Final

from finetune_api.conditions import Reason
from finetune_api.report import TrainerReport
from finetune_api.request import TrainerRequest
from finetune_trainer.context import Context
from finetune_trainer.errors import DataError
from finetune_trainer.fetch import fetch_data
from finetune_trainer.output import finished_result, remove_checkpoints

LOG: Final = logging.getLogger(__name__)


def train_job(context: Context, verify_options: Sequence[str]) -> TrainerReport:
    """Train a job; or report its result, where the output already holds it.

    Args:
        context: The run's surroundings.
        verify_options: Command-line options that lead the verifying process to S3.

    Raises:
        TrainerError: naming what went wrong and what to do.

    """
    data = fetch_data(context.storage, context.request.spec.data, context.work_dir)
    identity = context.identity(data.digest)
    _refuse_changed_data(context.request, data.digest)
    finished = finished_result(context.storage, context.layout, identity)
    if finished is not None:
        LOG.info("the output already holds this job's result; nothing is trained")
        remove_checkpoints(context.storage, context.layout)
        return context.adopt(finished)
    from finetune_trainer.attempt import attempt  # noqa: PLC0415

    return attempt(context, data, identity, verify_options)


def _refuse_changed_data(request: TrainerRequest, digest: str) -> None:
    if request.data_digest != digest:
        raise DataError(
            reason=Reason.DATASET_CHANGED,
            message=f"the data's digest is {digest}, but {request.data_digest} was validated",
            advice="Restore the data, or create another FinetuneJob, with another spec.output.uri, to train on it.",
        )
