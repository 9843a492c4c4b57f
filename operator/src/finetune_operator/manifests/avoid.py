"""A pod that must not run on certain nodes, whatever else its affinity asks for."""

from collections.abc import Sequence
from typing import Any, Final

Manifest = dict[str, Any]

HOSTNAME: Final = "kubernetes.io/hostname"
_REQUIRED: Final = "requiredDuringSchedulingIgnoredDuringExecution"


def avoiding(pod: Manifest, nodes: Sequence[str]) -> Manifest:
    """The pod's spec, kept off `nodes`.

    Terms of a node selector are alternatives, so that every one of them has to leave the nodes out.
    """
    if not nodes:
        return pod
    elsewhere = {"key": HOSTNAME, "operator": "NotIn", "values": list(nodes)}
    affinity = pod.get("affinity", {})
    node_affinity = affinity.get("nodeAffinity", {})
    terms = node_affinity.get(_REQUIRED, {}).get("nodeSelectorTerms") or [{}]
    stricter = [{**term, "matchExpressions": [*term.get("matchExpressions", []), elsewhere]} for term in terms]
    required = {_REQUIRED: {"nodeSelectorTerms": stricter}}
    return {**pod, "affinity": {**affinity, "nodeAffinity": {**node_affinity, **required}}}
