"""The digest of a job's identity: equal digests mean the same wanted result, on any cluster."""

import hashlib
import json
from typing import Final

from finetune_api.spec.job import IDENTITY, FinetuneJobSpec

_EXECUTION: Final = {
    "training": {"micro_batch_tokens", "packing"},
    "evaluation": {"batch_size"},
    "data": {"show_rows", "prepared_uri"},
}
"""Settings inside identity sections that change speed, memory or what is shown, not the result."""


def spec_digest(spec: FinetuneJobSpec) -> str:
    """`sha256:<hex>` over the identity settings in canonical JSON; defaults written out and defaults left out agree."""
    identity = spec.model_dump(mode="json", include=set(IDENTITY), exclude=_EXECUTION, exclude_none=True)
    canonical = json.dumps(identity, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return f"sha256:{hashlib.sha256(canonical.encode()).hexdigest()}"
