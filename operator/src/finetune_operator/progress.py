"""Progress of preflight and training, read from the end of their logs: best effort, and bounded over all jobs.

Pods are visited in turn. With few of them each is visited every few seconds; with many the total rate holds and
each waits longer.
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
from finetune_operator.observe import Key
from finetune_operator.queue import WorkQueue
from finetune_operator.settings import Settings

LINES: Final = 40
"""A pod prints a progress line every few seconds; libraries may print between them."""
LIMIT: Final = 65536

_log: Final = logging.getLogger(__name__)


class ProgressBoard:
    """The newest progress of each job with a pod at work."""

    def __init__(self) -> None:
        self._newest: dict[Key, Progress] = {}

    def newest(self, key: Key) -> Progress | None:
        """The newest progress of a job whose pod is at work."""
        return self._newest.get(key)

    def note(self, key: Key, progress: Progress) -> bool:
        """Take over a progress; False if nothing moved."""
        if self._newest.get(key) == progress:
            return False
        self._newest[key] = progress
        return True

    def keep_only(self, keys: set[Key]) -> None:
        """Forget jobs whose pod is no more at work."""
        for key in self._newest.keys() - keys:
            del self._newest[key]


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

    async def run(self) -> None:
        """One round after another."""
        while True:
            pods = self._cache.running_pods()
            self._board.keep_only({key for key, _ in pods})
            pause = max(self._settings.progress_seconds, len(pods) / self._settings.progress_per_second)
            await asyncio.gather(self._round(pods, pause), asyncio.sleep(pause))

    async def _round(self, pods: list[tuple[Key, ChildPod]], pause: float) -> None:
        """Visit every pod once, evenly spread over the pause."""
        for key, pod in pods:
            await asyncio.gather(self._visit(key, pod), asyncio.sleep(pause / len(pods)))

    async def _visit(self, key: Key, pod: ChildPod) -> None:
        try:
            log = await self._cluster.pod_log(pod.namespace, pod.name, CONTAINER, lines=LINES, limit=LIMIT)
        except ClusterError as error:
            _log.debug("no log", extra={"job": key, "cause": str(error)})
            return
        progress = last_progress(log)
        if progress is not None and self._board.note(key, progress):
            self._queue.add(key)
