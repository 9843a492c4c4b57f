"""Progress is read from pods at work only, in turn, bounded in all, and a job is woken only when something moved."""

import asyncio
from collections import Counter
from typing import cast

import cluster_objects as o
import pytest
from virtual_time import run_virtually

from finetune_api.names import Kind
from finetune_api.progress import Progress, encode
from finetune_operator.cache import Cache
from finetune_operator.cluster import Cluster
from finetune_operator.errors import UnavailableError
from finetune_operator.intake import Intake
from finetune_operator.metrics import Metrics
from finetune_operator.observe import Key
from finetune_operator.progress import AT_ONCE, ProgressBoard, ProgressReader
from finetune_operator.queue import WorkQueue
from finetune_operator.settings import Settings

KEY = Key(o.NAMESPACE, o.NAME)
FIRST, SECOND = (Progress(stage="training", step=step, total_steps=9) for step in (1, 2))


class Logs:
    """A cluster that has nothing but logs."""

    def __init__(self) -> None:
        self.text = ""
        self.broken = False
        self.reads: asyncio.Queue[str] = asyncio.Queue()

    async def pod_log(self, namespace: str, name: str, container: str, *, lines: int, limit: int) -> str:
        self.reads.put_nowait(name)
        if self.broken:
            raise UnavailableError("no kubelet answers")
        return self.text


class Bench:
    """A reader on one FinetuneJob with one pod."""

    def __init__(self, pod: o.Raw, kind: Kind = "train") -> None:
        self.cache = Cache()
        self.queue: WorkQueue[Key] = WorkQueue(Metrics(self.cache))
        self.intake = Intake(self.cache, self.queue)
        for resource, raw in (("finetunejobs", o.finetune_job()), ("jobs", o.child_job(kind)), ("pods", pod)):
            self.intake.take(resource, raw)  # type: ignore[arg-type]
        self.logs, self.board = Logs(), ProgressBoard()
        self.kind = kind
        settings = Settings(trainer_image="any", progress_seconds=0.01)
        self.reader = ProgressReader(cast("Cluster", self.logs), self.cache, self.queue, self.board, settings)

    def newest(self) -> Progress | None:
        """What is known of the FinetuneJob's pod at work."""
        return self.board.newest(self.cache.child(KEY, o.UID, self.kind))

    async def rounds(self, count: int) -> list[Key]:
        """Let the reader visit so often; the jobs it woke."""
        while len(self.queue):
            self.queue.done(await self.queue.get())
        task = asyncio.create_task(self.reader.run())
        for _ in range(count):
            await asyncio.wait_for(self.logs.reads.get(), 5)
        await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return [await self.queue.get() for _ in range(len(self.queue))]


async def test_a_new_line_wakes_the_job_and_the_same_line_does_not() -> None:
    bench = Bench(o.running("train"))
    bench.logs.text = f"noise\n{encode(FIRST)}\nmore noise\n"
    assert await bench.rounds(1) == [KEY]
    assert bench.newest() == FIRST
    bench.queue.done(KEY)
    assert await bench.rounds(2) == []
    bench.logs.text += encode(SECOND)
    assert await bench.rounds(1) == [KEY]
    assert bench.newest() == SECOND


async def test_a_log_that_cannot_be_read_stops_nothing() -> None:
    bench = Bench(o.running("train"))
    bench.logs.broken = True
    assert await bench.rounds(2) == []
    bench.logs.broken, bench.logs.text = False, encode(FIRST)
    assert await bench.rounds(1) == [KEY]


async def test_a_trainer_that_ended_is_forgotten() -> None:
    bench = Bench(o.running("train"))
    bench.logs.text = encode(FIRST)
    await bench.rounds(1)
    ended = o.ended("train", 0, o.trained())
    ended["metadata"]["resourceVersion"] = "31"
    bench.intake.take("pods", ended)
    task = asyncio.create_task(bench.reader.run())
    await asyncio.sleep(0.05)
    task.cancel()
    assert bench.newest() is None


async def test_preflight_is_read_too() -> None:
    bench = Bench(o.running("preflight"), "preflight")
    checking = Progress(stage="validating", rows=10, bytes=1, total_bytes=2)
    bench.logs.text = encode(checking)
    assert await bench.rounds(1) == [KEY]
    assert bench.newest() == checking


class MovingLogs:
    """Pods whose logs have moved on at each visit, on nodes that take a second to answer, or never do."""

    def __init__(self, *silent: str) -> None:
        self.silent = silent
        self.waiting = self.most_waiting = self.visits = 0

    async def pod_log(self, namespace: str, name: str, container: str, *, lines: int, limit: int) -> str:
        self.waiting += 1
        self.visits += 1
        self.most_waiting = max(self.most_waiting, self.waiting)
        await asyncio.sleep(30 if name in self.silent else 1)
        self.waiting -= 1
        if name in self.silent:
            raise UnavailableError("no answer within 30 s")
        return encode(Progress(stage="training", step=self.visits, total_steps=10**6))


async def woken(count: int, seconds: float, logs: MovingLogs) -> list[tuple[float, str]]:
    """What the reader wakes of so many running jobs in so many seconds: when, and the name; each may be written."""
    cache = Cache()
    queue: WorkQueue[Key] = WorkQueue(Metrics(cache))
    intake = Intake(cache, queue)
    for number in range(count):
        run_job(intake, f"job-{number}")
    while len(queue):
        queue.done(await queue.get())
    reader = ProgressReader(cast("Cluster", logs), cache, queue, ProgressBoard(), Settings(trainer_image="any"))
    loop, found = asyncio.get_running_loop(), list[tuple[float, str]]()

    async def work() -> None:
        while True:
            key = await queue.get()
            found.append((loop.time(), key.name))
            queue.done(key)

    tasks = [asyncio.create_task(reader.run()), asyncio.create_task(work())]
    await asyncio.sleep(seconds)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return found


def run_job(intake: Intake, name: str) -> None:
    """A FinetuneJob of that name, its training Job and a pod at work."""
    pod = o.running("train", name=name)
    pod["metadata"]["ownerReferences"][0]["uid"] = f"train-{name}"
    child = o.child_job("train", name=f"{name}-train", uid=f"train-{name}")
    child["metadata"]["ownerReferences"][0] |= {"name": name, "uid": name}
    intake.take("finetunejobs", o.finetune_job(name=name, uid=name))
    intake.take("jobs", child)
    intake.take("pods", pod)


# running jobs: the longest that one waits for its progress
PATIENCE = {1: 5, 10: 5, 100: 5, 1000: 50}


@pytest.mark.parametrize("count", PATIENCE)
def test_progress_of_many_jobs_is_bounded_in_all_and_shared_evenly(count: int) -> None:
    rounds = 4
    seconds = PATIENCE[count] * rounds
    found = run_virtually(woken(count, seconds, MovingLogs()))
    times = [when for when, _ in found]
    a_second = [sum(begin <= when < begin + 1 for when in times) for begin in range(seconds)]
    # Twenty a second, and one more where a second begins and ends with one.
    assert max(a_second) <= 21
    assert len(found) <= 20 * seconds
    visits = Counter(name for _, name in found)
    assert len(visits) == count
    assert set(visits.values()) <= {rounds - 1, rounds}


def test_a_silent_node_holds_up_its_own_pods_alone() -> None:
    found = run_virtually(woken(100, 6, MovingLogs("job-0", "job-1")))
    assert {name for _, name in found} == {f"job-{number}" for number in range(2, 100)}


def test_many_silent_nodes_leave_connections_for_everything_else() -> None:
    logs = MovingLogs(*(f"job-{number}" for number in range(100)))
    run_virtually(woken(200, 60, logs))
    assert logs.most_waiting == AT_ONCE
