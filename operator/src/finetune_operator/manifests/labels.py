"""Which labels of a FinetuneJob its Jobs and pods carry too: cost centre, team, whatever a platform counts by.

Not those that mean something to a controller: a Job with Argo CD's label would be pruned as one that is not in Git, one
with Kueue's would be queued, and the Job controller refuses a Job with its own.
"""

from collections.abc import Mapping
from typing import Final

from finetune_api import GROUP

_DOMAINS: Final = ("kubernetes.io", "k8s.io", "x-k8s.io", "argoproj.io", "toolkit.fluxcd.io", GROUP)
"""Reserved, with all domains below them."""
_NAMES: Final = frozenset({"job-name", "controller-uid"})
"""The Job controller's, from before it had a domain."""


def handed_down(labels: Mapping[str, str]) -> dict[str, str]:
    """The labels that Jobs and pods carry too."""
    return {name: value for name, value in labels.items() if not _is_reserved(name)}


def _is_reserved(name: str) -> bool:
    domain, _, _ = name.rpartition("/")
    return name in _NAMES or any(domain == each or domain.endswith(f".{each}") for each in _DOMAINS)
