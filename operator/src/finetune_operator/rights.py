"""The rights the operator needs, and the check at start that it has them.

The chart grants exactly these. kopf would go on without a watch that was forbidden; a plain message and an exit are
easier to find.
"""

import asyncio
from dataclasses import dataclass
from typing import Final

from finetune_api import API_VERSION, GROUP, PLURAL
from finetune_operator.cluster import Cluster
from finetune_operator.errors import StartupError
from finetune_operator.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Right:
    """Verbs on one resource."""

    group: str
    resource: str
    verbs: tuple[str, ...]


RIGHTS: Final = (
    # To patch the object itself is for one finalizer, on jobs that ask for the deletion of their output.
    Right(group=GROUP, resource=PLURAL, verbs=("get", "list", "watch", "patch")),
    Right(group=GROUP, resource=f"{PLURAL}/status", verbs=("patch",)),
    # Owner references that block deletion need this where OwnerReferencesPermissionEnforcement is on.
    Right(group=GROUP, resource=f"{PLURAL}/finalizers", verbs=("update",)),
    Right(group="batch", resource="jobs", verbs=("get", "list", "watch", "create", "patch", "delete")),
    # In front of the pods of a job of several nodes.
    Right(group="", resource="services", verbs=("get", "create")),
    Right(group="", resource="pods", verbs=("list", "watch")),
    Right(group="", resource="pods/log", verbs=("get",)),
    Right(group="", resource="events", verbs=("create",)),
)

KUEUE: Final = (
    Right(group="kueue.x-k8s.io", resource="workloads", verbs=("list", "watch", "patch")),
    # Optional to have served: without Kueue's visibility API no place in a queue is told.
    Right(group="visibility.kueue.x-k8s.io", resource="localqueues/pendingworkloads", verbs=("get",)),
)
"""Needed as well by an operator that works with Kueue."""

NODES: Final = Right(group="", resource="nodes", verbs=("list",))
"""Not needed: without it, the memory of GPUs is known from the setting `gpu_memory` only."""


async def check(cluster: Cluster, settings: Settings) -> None:
    """Return if the operator can work here.

    Raises:
        StartupError: the CRD or a right is missing.
    """
    if not await cluster.serves("finetunejobs"):
        raise StartupError(f"the cluster does not serve {PLURAL}.{GROUP} ({API_VERSION}): install the CRD first")
    rights = (*RIGHTS, *KUEUE) if settings.kueue else RIGHTS
    wanted = [(namespace, right, verb) for namespace in _scopes(settings) for right in rights for verb in right.verbs]
    granted = await asyncio.gather(
        *(cluster.may(verb, right.group, right.resource, namespace) for namespace, right, verb in wanted)
    )
    missing = [_describe(*want) for want, ok in zip(wanted, granted, strict=True) if not ok]
    if missing:
        raise StartupError("the service account lacks rights: " + "; ".join(missing))


def _scopes(settings: Settings) -> tuple[str | None, ...]:
    return settings.namespaces or (None,)


def _describe(namespace: str | None, right: Right, verb: str) -> str:
    resource = f"{right.resource}.{right.group}" if right.group else right.resource
    return f"{verb} {resource} " + (f"in namespace {namespace}" if namespace else "in all namespaces")
