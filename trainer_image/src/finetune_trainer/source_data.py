"""The data sets as they were validated, or a refusal: nothing is trained on rows that nobody looked at."""

import logging
from typing import Final

from finetune_api.conditions import Reason
from finetune_trainer.context import Context
from finetune_trainer.errors import DataError
from finetune_trainer.fetch import FetchedData, fetch_data, list_data
from finetune_trainer.prepared_document import PreparedDocument, list_objects

LOG: Final = logging.getLogger(__name__)


def refuse_changed_data(context: Context, document: PreparedDocument) -> None:
    """Compare what S3 lists with what it listed at validation; only where that differs is the content read.

    Raises:
        DataError: DatasetChanged.

    """
    listing = list_data(context.storage, context.request.spec.data)
    if list_objects(listing) != document.listing:
        LOG.info("S3 lists the data otherwise than when it was validated; its content is compared")
        fetch_validated(context, document)


def fetch_validated(context: Context, document: PreparedDocument) -> FetchedData:
    """The data sets on disk, as they were validated.

    Raises:
        DataError: DatasetChanged.

    """
    storage, data = context.storage, context.request.spec.data
    fetched = fetch_data(storage, data, list_data(storage, data), context.work_dir)
    if fetched.digest != document.data_digest:
        raise DataError(
            reason=Reason.DATASET_CHANGED,
            message=f"the data's digest is {fetched.digest}, but {document.data_digest} was validated",
            advice="Restore the data, or create another FinetuneJob, with another spec.output.uri, to train on it.",
        )
    return fetched
