"""Multipart uploads that killed attempts left open: listings do not show their parts, but somebody pays for them."""

import logging
from typing import Final

from finetune_trainer.epoch import Epoch
from finetune_trainer.errors import TrainerError

LOG: Final = logging.getLogger(__name__)


def abort_stale_uploads(epoch: Epoch) -> None:
    """Abort what older attempts have begun under this job's prefixes; a zombie's too, for it may commit nothing.

    A service that cannot list uploads, or an identity that may not, costs nothing but the room: training goes on.
    """
    for prefix in (epoch.layout.runs, epoch.layout.checkpoints):
        try:
            for upload in epoch.storage.open_uploads(prefix):
                number = _epoch(upload.uri.removeprefix(prefix))
                if number is not None and number < epoch.number:
                    LOG.info("aborting the upload of %s, which an earlier attempt has left", upload.uri)
                    epoch.storage.abort_upload(upload)
        except TrainerError as error:
            LOG.warning("uploads of earlier attempts are left under %s: %s", prefix, error.message)


def _epoch(key: str) -> int | None:
    """The attempt that a key below `runs/` or `checkpoints/` begins with."""
    number = key.partition("/")[0].partition("-")[0]
    return int(number) if number.isdecimal() else None
