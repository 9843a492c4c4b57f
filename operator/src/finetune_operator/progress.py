"""Progress of preflight and training, read from the end of their logs: best effort, and bounded over all jobs.

Pods are visited in turn. With few of them each is visited every few seconds; with many the total rate holds and
each waits longer. A visit leads to one status patch at most, so the bound on visits is one on writes. A node that does
not answer holds up its own pods alone.
"""

import asyncio
import logging
from typing import Final

from finetune_api.names import CONTAINER
from finetune_api.progress import Progress, last_progress
from finetune_operator.cache import Cache
from finetune_operator.children import ChildPod
from finetune_operator.cluster import Cluster
from finetune_operator.errors import ClusterError
from finetune_operator.observe import Child, Key
from finetune_operator.queue import WorkQueue
from finetune_operator.settings import Settings

LINES: Final = 40
"""A pod prints a progress line every few seconds; libraries may print between them."""
LIMIT: Final = 65536
AT_ONCE: Final = 32
"""Visits that may wait for silent nodes, so that connections to the API server are left for everything else."""

_log: Final = logging.getLogger(__name__)


class ProgressBoard:
    """The newest progress of each pod at work."""

    def __init__(self) -> None:
        self._newest: dict[str, Progress] = {}

    def newest(self, *children: Child | None) -> Progress | None:
        """The newest progress of the pod that is at work for one of the Jobs."""
        at_work = (pod.uid for child in children if child is not None for pod in child.pods if pod.running)
        return next((progress for uid in at_work if (progress := self._newest.get(uid)) is not None), None)

    def note(self, uid: str, progress: Progress) -> bool:
        """Take over the progress of a pod; False if nothing moved."""
        if self._newest.get(uid) == progress:
            return False
        self._newest[uid] = progress
        return True

    def keep_only(self, uids: set[str]) -> None:
        """Forget pods that are no more at work."""
        for uid in self._newest.keys() - uids:
            del self._newest[uid]


class ProgressReader:
    """Visits pods at work for ever."""

    def __init__(
        self, cluster: Cluster, cache: Cache, queue: WorkQueue[Key], board: ProgressBoard, settings: Settings
    ) -> None:
        self._cluster = cluster
        self._cache = cache
        self._queue = queue
        self._board = board
        self._settings = settings
        self._slots = asyncio.Semaphore(AT_ONCE)

    async def run(self) -> None:
        """One round after another."""
        while True:
            pods = self._cache.running_pods()
            self._board.keep_only({pod.uid for _, pod in pods})
            pause = max(self._settings.progress_seconds, len(pods) / self._settings.progress_per_second)
            await asyncio.gather(self._round(pods, pause), asyncio.sleep(pause))

    async def _round(self, pods: list[tuple[Key, ChildPod]], pause: float) -> None:
        """Visit every pod once, evenly spread over the pause."""
        async with asyncio.TaskGroup() as visits:
            for key, pod in pods:
                await self._slots.acquire()
                visit = visits.create_task(self._visit(key, pod))
                visit.add_done_callback(lambda _: self._slots.release())
                await asyncio.sleep(pause / len(pods))

    async def _visit(self, key: Key, pod: ChildPod) -> None:
        try:
            log = await self._cluster.pod_log(pod.namespace, pod.name, CONTAINER, lines=LINES, limit=LIMIT)
        except ClusterError as error:
            _log.debug("no log", extra={"job": key, "cause": str(error)})
            return
        progress = last_progress(log)
        if progress is not None and self._board.note(pod.uid, progress):
            self._queue.add(key)
