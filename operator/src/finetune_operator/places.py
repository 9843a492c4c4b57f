"""Places of waiting jobs in Kueue's queues: asked for rarely, within a bound, and told so that few statuses change.

Kueue's visibility API is optional, and its answers are never written down anywhere: so it is asked. One answer holds a
whole LocalQueue, and only queues in which a job of ours waits are asked for.
"""

import asyncio
import logging
from dataclasses import replace
from typing import Final

from finetune_operator.cache import Cache
from finetune_operator.cluster import Cluster
from finetune_operator.errors import ClusterError
from finetune_operator.observe import Child, Key
from finetune_operator.queue import WorkQueue
from finetune_operator.settings import Settings

QUEUES_PER_SECOND: Final = 1.0
IDLE_ROUNDS: Final = 10
"""Rounds that are left out after one in which no queue answered."""

_log: Final = logging.getLogger(__name__)


class PlaceBoard:
    """The newest place of each waiting Workload."""

    def __init__(self) -> None:
        self._newest: dict[str, int] = {}

    def placed(self, child: Child | None) -> Child | None:
        """A child with the place of its Workload, if that is known."""
        if child is None or child.workload is None:
            return child
        return replace(child, position=self._newest.get(child.workload.uid))

    def note(self, uid: str, place: int | None) -> bool:
        """Take over a place; False if it is told as before."""
        if self._newest.get(uid) == place:
            return False
        if place is None:
            del self._newest[uid]
        else:
            self._newest[uid] = place
        return True

    def keep_only(self, uids: set[str]) -> None:
        """Forget Workloads that no longer wait."""
        for uid in self._newest.keys() - uids:
            del self._newest[uid]


class PlaceReader:
    """Asks for places for ever."""

    def __init__(
        self, cluster: Cluster, cache: Cache, queue: WorkQueue[Key], board: PlaceBoard, settings: Settings
    ) -> None:
        self._cluster = cluster
        self._cache = cache
        self._queue = queue
        self._board = board
        self._pause = settings.queue_seconds

    async def run(self) -> None:
        """One round after another."""
        while True:
            answered = await self.round()
            await asyncio.sleep(self._pause if answered else self._pause * IDLE_ROUNDS)

    async def round(self) -> bool:
        """Ask every queue in which a job waits; False if there were some and none answered."""
        waiting = self._cache.pending_workloads()
        self._board.keep_only({workload.uid for _, workload in waiting})
        queues = sorted({(workload.namespace, workload.queue) for _, workload in waiting})
        answers = [await self._ask(*queue) for queue in queues]
        places = {key: place for answer in answers if answer is not None for key, place in answer.items()}
        for key, workload in waiting:
            place = places.get((workload.namespace, workload.name))
            if self._board.note(workload.uid, told(place) if place is not None else None):
                self._queue.add(key)
        return not answers or any(answer is not None for answer in answers)

    async def _ask(self, namespace: str, queue: str) -> dict[tuple[str, str], int] | None:
        await asyncio.sleep(1 / QUEUES_PER_SECOND)
        try:
            places = await self._cluster.places(namespace, queue)
        except ClusterError as error:
            _log.debug("no places", extra={"queue": f"{namespace}/{queue}", "cause": str(error)})
            return None
        return {(namespace, name): place + 1 for name, place in places.items()}


def told(place: int) -> int:
    """A place as it is told: far back it matters little, and each move of a long queue would change every status."""
    step = 1 if place < 20 else 10 if place < 100 else 100
    return place // step * step
