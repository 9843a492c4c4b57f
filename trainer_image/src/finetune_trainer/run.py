"""The train command: refuse or adopt what can be refused or adopted at once, then make an attempt.

Torch takes ten seconds to load, so it is not imported before it is needed.
"""

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from finetune_api.report import TrainerReport
from finetune_trainer.conclude import conclude
from finetune_trainer.context import Context
from finetune_trainer.output import finished_result, remove_checkpoints
from finetune_trainer.prepared_document import read_document
from finetune_trainer.source_data import refuse_changed_data

if TYPE_CHECKING:
    from finetune_trainer.ranks import Ranks

LOG: Final = logging.getLogger(__name__)


def train_job(context: Context, verify_options: Sequence[str], ranks: "Ranks | None" = None) -> TrainerReport:
    """Train a job; or report its result, where the output already holds it.

    Args:
        context: The run's surroundings.
        verify_options: Command-line options that lead the verifying process to S3.
        ranks: The processes that train together, of which the first concludes; None where this one trains alone.

    Raises:
        TrainerError: naming what went wrong and what to do.

    """
    document = read_document(context)
    refuse_changed_data(context, document)
    identity = context.identity(document.data_digest)
    finished = finished_result(context.storage, context.layout, identity)
    if finished is not None:
        LOG.info("the output already holds this job's result; nothing is trained")
        if ranks is not None and not ranks.is_first:
            return context.draft.report
        remove_checkpoints(context.storage, context.layout)
        return conclude(context, finished, adopted=True)
    context.start_up.ended("checks")
    from finetune_trainer.attempt import attempt  # noqa: PLC0415

    context.start_up.ended("libraries")
    return attempt(context, document, identity, verify_options, ranks)
