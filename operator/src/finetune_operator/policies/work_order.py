"""A work order that could not reach its trainer: it goes into one environment variable, and Linux bounds these."""

import json
from typing import Final

from finetune_api.conditions import Reason
from finetune_api.request import TrainerRequest
from finetune_api.status import FailureStatus
from finetune_operator.failures import failure

VARIABLE_BYTES: Final = 128 * 1024
"""MAX_ARG_STRLEN, execve(2): the container of a larger one would never start, and only its kubelet would say why."""
_RESERVED: Final = 1024
"""For the variable's name, and for what training's order holds beyond preflight's: that must not be found out later."""


def too_large(request: TrainerRequest) -> FailureStatus | None:
    """Why no Job may be created for the request; None if it may."""
    size = len(request.model_dump_json(exclude_none=True).encode())
    most = VARIABLE_BYTES - _RESERVED
    if size <= most:
        return None
    sections = request.spec.model_dump(mode="json", exclude_none=True)
    sizes = {name: len(json.dumps(section, ensure_ascii=False).encode()) for name, section in sections.items()}
    largest = max(sizes, key=lambda name: sizes[name])
    message = (
        f"spec: it has {size:,} bytes as the trainer gets it, in one variable that holds {most:,}; "
        f"spec.{largest} has {sizes[largest]:,} of them"
    )
    advice = (
        "Make labels, the template or the system prompt shorter, or name a prefix in place of many data files. "
        "Then create the FinetuneJob again."
    )
    return failure("Settings", Reason.SETTINGS_INVALID, message, advice)
