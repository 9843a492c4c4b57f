"""The digest of a job's identity: equal digests mean the same wanted result, on any cluster."""

import hashlib
import json
from typing import Any, Final

from finetune_api.spec.job import IDENTITY, FinetuneJobSpec

_EXECUTION: Final[dict[str, Any]] = {
    "training": {"micro_batch_tokens": True, "packing": True, "compile": True, "guards": {"stall_minutes"}},
    "evaluation": {"batch_size": True},
    "data": {"show_rows": True, "prepared_uri": True},
    "output": {"on_delete": True},
}
"""Settings inside identity sections that change speed, memory or what is shown, not the result."""


def identity_settings(spec: FinetuneJobSpec) -> dict[str, Any]:
    """The settings that decide the result, as the spec writes them, without those that have their default value.

    A setting that a later version adds leaves the digests of earlier jobs as they were, so that their results are still
    found to be theirs; a default must therefore never change its meaning.
    """
    identity = spec.model_dump(
        mode="json", include={*IDENTITY, "run_id"}, exclude=_EXECUTION, exclude_none=True, exclude_defaults=True
    )
    return _without_empty(identity)


def spec_digest(spec: FinetuneJobSpec) -> str:
    """`sha256:<hex>` over the identity settings in canonical JSON."""
    canonical = json.dumps(identity_settings(spec), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return f"sha256:{hashlib.sha256(canonical.encode()).hexdigest()}"


def _without_empty(section: dict[str, Any]) -> dict[str, Any]:
    """Without sections of which nothing is left: they say the same as sections that are not there."""
    inner = {name: _without_empty(value) if isinstance(value, dict) else value for name, value in section.items()}
    return {name: value for name, value in inner.items() if value != {}}
