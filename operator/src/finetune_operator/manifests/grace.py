"""How long a training pod has between SIGTERM and SIGKILL (`terminationGracePeriodSeconds`).

A step is finished, an upload that is under way is finished, and the newest state is uploaded after it. A pod that is
done earlier leaves earlier, so a long period costs nothing but where a pod hangs.
"""

from typing import Final

from finetune_api.spec.resources import Limits
from finetune_api.status import EstimateStatus

LEAST_SECONDS: Final = 120
"""For small adapters, and where the size of a checkpoint is not known."""
MOST_SECONDS: Final = 3600
"""A pod that hangs must give its node back."""
_STEP_SECONDS: Final = 60
"""One training step, the manifest and the report."""
_BYTES_PER_SECOND: Final = 20_000_000
"""A slow S3, on purpose: what is not saved in time is lost."""
_UPLOADS: Final = 2


def grace_seconds(limits: Limits, estimate: EstimateStatus | None) -> int:
    """Seconds for a training pod; what the spec says, or else by the size of a checkpoint."""
    if limits.grace_period_seconds is not None:
        return limits.grace_period_seconds
    size = estimate.checkpoint_bytes if estimate is not None else 0
    return min(MOST_SECONDS, max(LEAST_SECONDS, _STEP_SECONDS + _UPLOADS * size // _BYTES_PER_SECOND))
