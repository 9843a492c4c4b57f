"""The one way into the cache: raw object in, cache updated, the FinetuneJob concerned put into the queue."""

from finetune_operator.cache import Cache, Resource, StoredJob
from finetune_operator.children import Raw, parse_job, parse_pod
from finetune_operator.observe import Key
from finetune_operator.queue import WorkQueue
from finetune_operator.settings import Settings
from finetune_operator.workloads import parse_workload


def resources(settings: Settings) -> tuple[Resource, ...]:
    """What the operator looks at, in the order in which it is listed at the start."""
    return ("finetunejobs", "workloads", "pods", "jobs") if settings.kueue else ("finetunejobs", "pods", "jobs")


class Intake:
    """Takes objects from watches, listings and answers."""

    def __init__(self, cache: Cache, queue: WorkQueue[Key], *, awake: bool = True) -> None:
        self._cache = cache
        self._queue = queue
        self._awake = awake

    def wake(self) -> None:
        """Put every FinetuneJob into the queue, and from now on those that something happens to.

        A standby's cache follows the cluster, but nobody works at its queue.
        """
        self._awake = True
        everybody = self._cache.keys()
        for key in everybody:
            self._queue.add(key)

    def take(self, resource: Resource, raw: Raw) -> bool:
        """Take over an object; what is already known wakes nobody and returns False."""
        if resource == "finetunejobs":
            news = self._cache.put_finetune_job(StoredJob.pack(raw))
        elif resource == "jobs":
            news = self._cache.put_job(parse_job(raw))
        elif resource == "workloads":
            workload = parse_workload(raw)
            news = workload is not None and self._cache.put_workload(workload)
        else:
            news = self._cache.put_pod(parse_pod(raw))
        if news:
            self._wake(self._cache.key_of(resource, raw["metadata"]["uid"]))
        return news

    def forget(self, resource: Resource, uid: str) -> bool:
        """Forget an object that is gone; a lost child concerns its FinetuneJob. False if it was unknown."""
        key = self._cache.key_of(resource, uid)
        known = self._cache.remove(resource, uid)
        if resource != "finetunejobs":
            self._wake(key)
        return known

    def _wake(self, key: Key | None) -> None:
        if key is not None and self._awake:
            self._queue.add(key)
