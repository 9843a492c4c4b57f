"""Whether what is to be downloaded fits the disk, before it fills it."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from finetune_api.conditions import Reason
from finetune_trainer.errors import SettingsError
from finetune_trainer.storage import StoredObject


def check_room(
    objects: Sequence[StoredObject],
    directory: Path,
    *,
    field: str = "spec.resources.scratch",
    advice: str = "Raise spec.resources.scratch.",
) -> None:
    """Check that objects fit the disk that `directory`, made where it is missing, lies on.

    Raises:
        SettingsError: they do not; it names `field` and says `advice`.

    """
    directory.mkdir(parents=True, exist_ok=True)
    needed, free = sum(item.size for item in objects), shutil.disk_usage(directory).free
    if needed > free:
        raise SettingsError(
            reason=Reason.SETTINGS_INVALID,
            message=f"{field}: {needed:,} bytes are to be downloaded and {free:,} are free",
            advice=advice,
        )
