"""The comparison of the cache with the cluster.

A watch that died in silence looks like a quiet cluster. So the operator lists everything now and then: what differs
and still differs a little later was missed. It is repaired at once; if two comparisons in a row find something missed,
the watches are taken for dead and liveness fails.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Final

from finetune_operator.cache import Cache, Resource, newer
from finetune_operator.children import Raw
from finetune_operator.cluster import Cluster
from finetune_operator.errors import ClusterError
from finetune_operator.intake import Intake, resources
from finetune_operator.metrics import Metrics
from finetune_operator.settings import Settings
from finetune_operator.workloads import parse_workload

GRACE_SECONDS: Final = 10.0
"""A watch event may be later than a listing by this much without being lost."""
FIRST_SECONDS: Final = 15.0
LASTING_ROUNDS: Final = 2

_log: Final = logging.getLogger(__name__)


class Resync:
    """Fills the cache at start and compares it with the cluster from then on."""

    def __init__(self, cluster: Cluster, cache: Cache, intake: Intake, metrics: Metrics, settings: Settings) -> None:
        self._cluster = cluster
        self._cache = cache
        self._intake = intake
        self._metrics = metrics
        self._namespaces = settings.namespaces or (None,)
        self._resources = resources(settings)
        self._pause = settings.resync_seconds
        self._drifted_rounds = 0

    @property
    def healthy(self) -> bool:
        """Whether the watches deliver what happens."""
        return self._drifted_rounds < LASTING_ROUNDS

    async def load(self) -> None:
        """Fill the cache: no decision may rest on half a picture."""
        for resource in self._resources:
            async for item in self._list(resource):
                self._intake.take(resource, item)

    async def run(self) -> None:
        """One comparison after another, the first soon: between the first listing and the watches is a gap."""
        pause = min(FIRST_SECONDS, self._pause)
        while True:
            await asyncio.sleep(pause)
            pause = self._pause
            try:
                await self.compare(GRACE_SECONDS)
            except ClusterError as error:
                _log.warning("comparison with the cluster failed", extra={"cause": str(error)})

    async def compare(self, grace: float) -> int:
        """Compare, repair, and return in how many objects the cache was behind for longer than the grace."""
        suspects = {resource: await self._suspects(resource) for resource in self._resources}
        if any(suspects.values()):
            await asyncio.sleep(grace)
        missed = 0
        for resource, versions in suspects.items():
            missed += await self._repair(resource, self._still_behind(resource, versions))
        self._drifted_rounds = self._drifted_rounds + 1 if missed else 0
        self._metrics.drifted(missed)
        if missed:
            _log.warning("watches had missed changes", extra={"objects": missed})
        return missed

    async def _suspects(self, resource: Resource) -> dict[str, str | None]:
        """Objects that the cache lacks or has in an older version, with the listed one; None for those gone."""
        before = self._cache.versions(resource)
        listed = {item["metadata"]["uid"]: item["metadata"]["resourceVersion"] async for item in self._list(resource)}
        gone: dict[str, str | None] = dict.fromkeys(before.keys() - listed.keys())
        return gone | {uid: version for uid, version in listed.items() if _behind(before.get(uid), version)}

    def _still_behind(self, resource: Resource, suspects: dict[str, str | None]) -> set[str]:
        cached = self._cache.versions(resource)
        return {
            uid
            for uid, version in suspects.items()
            if (uid in cached if version is None else _behind(cached.get(uid), version))
        }

    async def _repair(self, resource: Resource, uids: set[str]) -> int:
        """Take the truth about these objects from another listing; returns in how many the cache was wrong."""
        if not uids:
            return 0
        repaired, gone = 0, set(uids)
        async for item in self._list(resource):
            if item["metadata"]["uid"] in uids:
                gone.discard(item["metadata"]["uid"])
                repaired += self._intake.take(resource, item)
        return repaired + sum(self._intake.forget(resource, uid) for uid in gone)

    async def _list(self, resource: Resource) -> AsyncIterator[Raw]:
        for namespace in self._namespaces:
            async for item in self._cluster.list(resource, namespace):
                # Workloads bear no label of ours: other people's are left out here.
                if resource != "workloads" or parse_workload(item) is not None:
                    yield item


def _behind(cached: str | None, listed: str) -> bool:
    return cached is None or newer(listed, cached)
