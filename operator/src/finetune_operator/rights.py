"""The rights the operator needs, and the check at start that it has them.

The chart grants exactly these. kopf would go on without a watch that was forbidden; a plain message and an exit are
easier to find.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from finetune_api import GROUP, PLURAL
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

LEASE: Final = Right(group="coordination.k8s.io", resource="leases", verbs=("get", "create", "update"))
"""Needed in the namespace of the Lease, and there alone."""

NODES: Final = Right(group="", resource="nodes", verbs=("list",))
"""Not needed: without it, the memory of GPUs is known from the setting `gpu_memory` only."""


async def check(cluster: Cluster, settings: Settings) -> None:
    """Return if the operator can work here.

    Raises:
        StartupError: a right is missing.
    """
    wanted = [(namespace, right, verb) for namespace, right in _needed(settings) for verb in right.verbs]
    granted = await asyncio.gather(
        *(cluster.may(verb, right.group, right.resource, namespace) for namespace, right, verb in wanted)
    )
    missing = [_describe(*want) for want, ok in zip(wanted, granted, strict=True) if not ok]
    if missing:
        raise StartupError("the service account lacks rights: " + "; ".join(missing))


def _needed(settings: Settings) -> Iterator[tuple[str | None, Right]]:
    """Rights, each with the namespace that it is needed in; None for all."""
    for namespace in settings.namespaces or (None,):
        for right in (*RIGHTS, *KUEUE) if settings.kueue else RIGHTS:
            yield namespace, right
    if settings.lease is not None:
        yield settings.lease[0], LEASE


def _describe(namespace: str | None, right: Right, verb: str) -> str:
    resource = f"{right.resource}.{right.group}" if right.group else right.resource
    return f"{verb} {resource} " + (f"in namespace {namespace}" if namespace else "in all namespaces")
