"""What a job waits for: a value that the view of a child Job fills in and the deadlines judge."""

from dataclasses import dataclass

from finetune_api.base import Timestamp
from finetune_api.conditions import Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """Something that keeps a job from going on, and that may never end."""

    reason: Reason
    since: Timestamp | None
    """None: as far as is known, since now."""
    message: str
