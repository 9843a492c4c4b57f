"""An operator that may have lost its Lease sends no write: asked at the last moment, whatever the write is."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

import cluster_objects as o
import pytest
from api_server import AUDIT_LOG
from audit import writes
from kubectl import Kubectl
from kubernetes.aio.client.configuration import Configuration
from kubernetes.aio.config import load_kube_config
from played_job import submit

from finetune_operator.cache import Cache
from finetune_operator.cluster import Cluster
from finetune_operator.errors import LeadershipLostError
from finetune_operator.metrics import Metrics
from finetune_operator.observe import Key
from finetune_operator.queue import WorkQueue
from finetune_operator.reconcile import Reconciler
from finetune_operator.throttle import Throttle
from finetune_operator.worker import work

Write = Callable[[Cluster, str], Awaitable[Any]]
VERSION = {"uid": "any", "resourceVersion": "1"}

WRITES: dict[str, Write] = {
    "create": lambda cluster, where: cluster.create("jobs", {"metadata": {"namespace": where}}),
    "patch": lambda cluster, where: cluster.patch("jobs", where, o.NAME, {"spec": {"suspend": True}}),
    "delete": lambda cluster, where: cluster.delete_job(where, o.NAME, "any"),
    "status": lambda cluster, where: cluster.patch_status(where, o.NAME, VERSION, {"phase": "Failed"}),
    "finalizers": lambda cluster, where: cluster.set_finalizers(where, o.NAME, VERSION, ()),
    "event": lambda cluster, where: cluster.create_event({"metadata": {"namespace": where}}),
    "lease": lambda cluster, where: cluster.put_lease({"metadata": {"namespace": where, "name": "any"}}),
}


def lost() -> None:
    raise LeadershipLostError("lost")


async def fenced(team: Kubectl) -> Cluster:
    configuration = Configuration()
    await load_kube_config(str(team.kubeconfig), client_configuration=configuration)
    return Cluster(configuration, Throttle(100), Metrics(Cache()), lost)


@pytest.mark.cluster
@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES.keys())
async def test_no_write_passes_a_fence_that_is_down(team: Kubectl, write: Write) -> None:
    async with await fenced(team) as cluster:
        with pytest.raises(LeadershipLostError):
            await write(cluster, str(team.namespace))
    assert team.kubeconfig is not None
    assert writes(team.kubeconfig.parent / AUDIT_LOG, str(team.namespace)) == []


@pytest.mark.cluster
async def test_reading_and_asking_for_rights_passes(team: Kubectl) -> None:
    """A standby has to fill its cache, and to know at its start that it could act."""
    submit(team)
    async with await fenced(team) as cluster:
        assert [item["metadata"]["name"] async for item in cluster.list("finetunejobs", team.namespace)] == [o.NAME]
        assert await cluster.may("create", "batch", "jobs", team.namespace)


async def test_a_lost_lease_ends_the_worker_and_is_not_tried_again() -> None:
    class Fenced:
        async def reconcile(self, key: Key) -> float | None:
            raise LeadershipLostError("lost")

    metrics = Metrics(Cache())
    queue: WorkQueue[Key] = WorkQueue(metrics)
    queue.add(Key("team-a", o.NAME))
    with pytest.raises(LeadershipLostError):
        await asyncio.wait_for(work(queue, cast("Reconciler", Fenced()), metrics), timeout=5)
    assert len(queue) == 0
