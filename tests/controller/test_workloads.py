"""Kueue's Workloads as they are read and kept: ours alone, by their Job, the newest of each."""

from collections.abc import Mapping
from typing import Any, cast

import cluster_objects as o
import pytest

from finetune_api.names import MANAGER, SUSPENDED_BY
from finetune_operator.cache import Cache
from finetune_operator.cluster import Cluster
from finetune_operator.errors import NotFoundError
from finetune_operator.intake import Intake
from finetune_operator.metrics import Metrics
from finetune_operator.observe import Key
from finetune_operator.places import PlaceBoard, PlaceReader, told
from finetune_operator.queue import WorkQueue
from finetune_operator.settings import Settings
from finetune_operator.workloads import WORDS, parse_workload

KEY = Key(o.NAMESPACE, o.NAME)


def owned_by(workload: o.Raw, **owner: Any) -> o.Raw:
    (first,) = workload["metadata"]["ownerReferences"]
    return {**workload, "metadata": {**workload["metadata"], "ownerReferences": [{**first, **owner}]}}


THEIRS = o.workload("train") | {"spec": {"podSets": [{"name": "main", "template": {"spec": {}}}]}}


@pytest.mark.parametrize(
    "raw",
    [THEIRS, owned_by(o.workload("train"), kind="Pod"), o.workload("train", ownerReferences=[])],
    ids=["another pod template", "of a pod", "of nobody"],
)
def test_the_workloads_of_others_are_not_kept(raw: o.Raw) -> None:
    assert parse_workload(raw) is None
    assert not Intake(Cache(), WorkQueue(Metrics(Cache()))).take("workloads", raw)


def test_what_kueue_says_is_kept_without_its_ids_and_within_bounds() -> None:
    long = o.verdict("QuotaReserved", "Pending", "(UID: 1, JobUID: 2) " + "x" * 1000, holds=False)
    workload = parse_workload(o.workload("train", long))
    assert workload is not None
    assert workload.waiting is not None
    assert len(workload.waiting.message) == WORDS
    evicted = o.verdict("Evicted", "Preempted", "for a workload (UID: 1, JobUID: 2) by rank; preemptor path: /a/b")
    stopped = parse_workload(o.workload("train", evicted))
    assert stopped is not None
    assert stopped.evicted is not None
    assert stopped.evicted.message == "for a workload by rank"


def test_a_workload_without_a_status_is_one_that_was_just_made() -> None:
    raw = o.workload("train")
    del raw["status"]
    del raw["spec"]["active"]
    workload = parse_workload(raw)
    assert workload is not None
    assert (workload.active, workload.reserved, workload.admitted, workload.waiting) == (True, False, None, None)


@pytest.mark.parametrize(("annotations", "paused"), [({SUSPENDED_BY: MANAGER}, True), ({"theirs": "x"}, False)])
def test_what_the_operator_took_out_of_a_queue_bears_its_mark(annotations: o.Raw, paused: bool) -> None:
    workload = parse_workload(o.workload("train", annotations=annotations))
    assert workload is not None
    assert workload.paused is paused


class Queues:
    """Kueue's visibility API, or its absence."""

    def __init__(self, places: Mapping[str, int] | None) -> None:
        self.places_of = places
        self.asked: list[tuple[str, str]] = []

    async def places(self, namespace: str, queue: str) -> Mapping[str, int]:
        self.asked.append((namespace, queue))
        if self.places_of is None:
            raise NotFoundError("not served")
        return self.places_of


class World:
    """One waiting job, and a reader of its place."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, places: Mapping[str, int] | None) -> None:
        monkeypatch.setattr("finetune_operator.places.QUEUES_PER_SECOND", 1000.0)
        self.cache = Cache()
        self.queue: WorkQueue[Key] = WorkQueue(Metrics(self.cache))
        self.intake = Intake(self.cache, self.queue)
        self.queues = Queues(places)
        self.board = PlaceBoard()
        settings = Settings(trainer_image="any", kueue=True)
        self.reader = PlaceReader(cast("Cluster", self.queues), self.cache, self.queue, self.board, settings)
        self.intake.take("finetunejobs", o.finetune_job())
        self.intake.take("jobs", o.child_job("train", queue="gpus"))

    @property
    def place(self) -> int | None:
        placed = self.board.placed(self.cache.child(KEY, o.UID, "train"))
        return placed.position if placed is not None else None

    async def woken(self) -> list[Key]:
        keys = []
        while len(self.queue):
            key = await self.queue.get()
            self.queue.done(key)
            keys.append(key)
        return keys


NAME = o.workload("train")["metadata"]["name"]


async def test_a_workload_wakes_its_job_and_goes_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, {})
    await world.woken()
    world.intake.take("workloads", o.workload("train"))
    assert await world.woken() == [KEY]
    child = world.cache.child(KEY, o.UID, "train")
    assert child is not None
    assert child.workload is not None
    world.intake.forget("workloads", child.workload.uid)
    assert await world.woken() == [KEY]
    child = world.cache.child(KEY, o.UID, "train")
    assert child is not None
    assert child.workload is None


async def test_the_newest_workload_of_a_job_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, {})
    world.intake.take("workloads", o.workload("train", uid="later", creationTimestamp=o.END))
    world.intake.take("workloads", o.workload("train"))
    child = world.cache.child(KEY, o.UID, "train")
    assert child is not None
    assert child.workload is not None
    assert child.workload.uid == "later"


async def test_a_waiting_job_is_told_its_place_once(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, {NAME: 2, "somebody-elses": 0})
    world.intake.take("workloads", o.workload("train"))
    await world.woken()
    assert await world.reader.round()
    assert await world.woken() == [KEY]
    assert world.place == 3
    assert await world.reader.round()
    assert await world.woken() == []


async def test_no_queue_is_asked_for_a_job_that_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, {NAME: 0})
    world.intake.take("workloads", o.workload("train"))
    await world.reader.round()
    reserved = o.verdict("QuotaReserved", "QuotaReserved", "")
    world.intake.take("workloads", o.workload("train", reserved, resourceVersion="26"))
    await world.reader.round()
    assert world.queues.asked == [(o.NAMESPACE, "gpus")]
    assert world.place is None


async def test_without_the_visibility_api_no_place_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, None)
    world.intake.take("workloads", o.workload("train"))
    await world.woken()
    assert not await world.reader.round()
    assert await world.woken() == []
    assert world.place is None


@pytest.mark.parametrize(("place", "says"), [(1, 1), (19, 19), (20, 20), (27, 20), (99, 90), (100, 100), (1234, 1200)])
def test_places_far_back_are_told_roughly(place: int, says: int) -> None:
    assert told(place) == says


def test_a_move_of_a_long_queue_changes_few_statuses() -> None:
    changed = [place for place in range(2, 10_001) if told(place) != told(place - 1)]
    assert len(changed) < 130
