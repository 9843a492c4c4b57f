"""The cache holds the newest of everything, and a comparison finds what the watches missed."""

from collections.abc import AsyncIterator
from typing import Any, cast

import cluster_objects as o
import pytest

from finetune_operator.cache import Cache, Resource
from finetune_operator.children import Raw
from finetune_operator.cluster import Cluster
from finetune_operator.intake import Intake
from finetune_operator.metrics import Metrics
from finetune_operator.observe import Key
from finetune_operator.queue import WorkQueue
from finetune_operator.resync import Resync
from finetune_operator.settings import Settings

KEY = Key(o.NAMESPACE, o.NAME)


class Listing:
    """A cluster that can only be listed."""

    def __init__(self) -> None:
        self.items: dict[str, dict[str, Raw]] = {"finetunejobs": {}, "jobs": {}, "pods": {}}

    async def list(self, resource: Resource, namespace: str | None) -> AsyncIterator[Raw]:
        for item in list(self.items[resource].values()):
            yield item

    def put(self, resource: Resource, raw: Raw) -> Raw:
        self.items[resource][raw["metadata"]["uid"]] = raw
        return raw


class World:
    """A cluster, an operator's cache of it, and the comparison between them."""

    def __init__(self) -> None:
        self.listing = Listing()
        self.cache = Cache()
        metrics = Metrics(self.cache)
        self.queue: WorkQueue[Key] = WorkQueue(metrics)
        self.intake = Intake(self.cache, self.queue)
        settings = Settings(trainer_image="any")
        self.resync = Resync(cast("Cluster", self.listing), self.cache, self.intake, metrics, settings)

    def happens(self, resource: Resource, raw: Raw, *, seen: bool = True) -> None:
        self.listing.put(resource, raw)
        if seen:
            self.intake.take(resource, raw)

    def vanishes(self, resource: Resource, raw: Raw) -> None:
        del self.listing.items[resource][raw["metadata"]["uid"]]

    async def drained(self) -> list[Key]:
        keys = []
        while len(self.queue):
            key = await self.queue.get()
            keys.append(key)
            self.queue.done(key)
        return keys


def version(raw: Any, number: int) -> Any:
    return {**raw, "metadata": {**raw["metadata"], "resourceVersion": str(number)}}


async def test_an_older_version_never_replaces_a_newer_one_and_wakes_nobody() -> None:
    world = World()
    assert world.intake.take("finetunejobs", version(o.finetune_job(), 100))
    assert await world.drained() == [KEY]
    assert not world.intake.take("finetunejobs", version(o.finetune_job({"suspend": True}), 99))
    assert await world.drained() == []
    stored = world.cache.finetune_job(KEY)
    assert stored is not None
    assert "suspend" not in stored["spec"]


async def test_what_is_gone_is_not_brought_back_by_a_late_event() -> None:
    world = World()
    world.intake.take("finetunejobs", o.finetune_job())
    world.intake.take("jobs", o.child_job("train"))
    world.intake.forget("jobs", "uid-of-train")
    assert not world.intake.take("jobs", version(o.child_job("train"), 1000))
    assert world.cache.child(KEY, o.UID, "train") is None


async def test_a_pod_wakes_its_finetune_job_whichever_came_first() -> None:
    world = World()
    world.intake.take("pods", o.running("train"))
    world.intake.take("jobs", o.child_job("train"))
    assert await world.drained() == []
    world.intake.take("finetunejobs", o.finetune_job())
    assert await world.drained() == [KEY]
    child = world.cache.child(KEY, o.UID, "train")
    assert child is not None
    assert [pod.running for pod in child.pods] == [True]
    world.intake.take("pods", version(o.ended("train", 0, o.trained()), 31))
    assert await world.drained() == [KEY]


async def test_what_a_removed_pod_said_at_its_end_is_kept() -> None:
    world = World()
    world.intake.take("finetunejobs", o.finetune_job())
    world.intake.take("jobs", o.child_job("train"))
    for name, created in (("later", o.END), ("earlier", o.START)):
        pod = o.ended("train", 75, "saved", name=name)
        pod["metadata"]["creationTimestamp"] = created
        world.intake.take("pods", pod)
    running = o.running("train", name="running")
    world.intake.take("pods", running)
    for name in ("later", "earlier", "running"):
        world.intake.forget("pods", f"uid-of-{name}")
    child = world.cache.child(KEY, o.UID, "train")
    assert child is not None
    assert [(pod.name, pod.ended_message) for pod in child.pods] == [("later", "saved")]


async def test_a_namesake_is_another_object() -> None:
    world = World()
    world.intake.take("finetunejobs", o.finetune_job())
    world.intake.take("jobs", o.child_job("train"))
    world.intake.take("finetunejobs", version(o.finetune_job(uid="another"), 50))
    world.intake.forget("finetunejobs", o.UID)
    stored = world.cache.finetune_job(KEY)
    assert stored is not None
    assert stored["metadata"]["uid"] == "another"
    assert world.cache.child(KEY, "another", "train") is None


@pytest.mark.parametrize("foreign", [{"namespace": "team-b"}, {"name": "forged"}])
async def test_a_job_that_merely_names_its_owner_is_no_child(foreign: o.Raw) -> None:
    world = World()
    world.intake.take("finetunejobs", o.finetune_job())
    forged = o.child_job("train")
    world.intake.take("jobs", {**forged, "metadata": {**forged["metadata"], **foreign}})
    assert world.cache.child(KEY, o.UID, "train") is None


async def test_a_cache_that_is_up_to_date_is_healthy() -> None:
    world = World()
    world.happens("finetunejobs", o.finetune_job())
    world.happens("jobs", o.child_job("train"))
    assert await world.resync.compare(grace=0) == 0
    assert world.resync.healthy


async def test_missed_changes_are_repaired_at_once_and_wake_their_job() -> None:
    world = World()
    train, pod = o.child_job("train"), o.running("train")
    world.happens("finetunejobs", o.finetune_job())
    world.happens("jobs", train)
    world.happens("pods", pod)
    await world.drained()
    world.vanishes("pods", pod)
    world.happens("jobs", version(train, 21), seen=False)
    assert await world.resync.compare(grace=0) == 2
    assert await world.drained() == [KEY]
    child = world.cache.child(KEY, o.UID, "train")
    assert child is not None
    assert (child.job.resource_version, child.pods) == ("21", ())


async def test_liveness_fails_only_when_two_comparisons_in_a_row_found_something_missed() -> None:
    world = World()
    job = o.finetune_job()
    world.happens("finetunejobs", job)
    found = []
    for number, seen in ((11, False), (12, True), (13, False), (14, False)):
        world.happens("finetunejobs", version(job, number), seen=seen)
        await world.resync.compare(grace=0)
        found.append(world.resync.healthy)
    assert found == [True, True, True, False]


async def test_a_change_that_the_watch_delivers_within_the_grace_is_not_missed() -> None:
    world = World()
    job = o.finetune_job()
    world.happens("finetunejobs", job)
    world.happens("finetunejobs", version(job, 11), seen=False)
    suspects = await world.resync._suspects("finetunejobs")
    assert suspects == {o.UID: "11"}
    world.intake.take("finetunejobs", version(job, 11))
    assert world.resync._still_behind("finetunejobs", suspects) == set()
