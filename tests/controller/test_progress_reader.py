"""Progress is read from pods at work only, in turn, and a job is woken only when something moved."""

import asyncio
from typing import cast

import cluster_objects as o

from finetune_api.names import Kind
from finetune_api.progress import Progress, encode
from finetune_operator.cache import Cache
from finetune_operator.cluster import Cluster
from finetune_operator.errors import UnavailableError
from finetune_operator.intake import Intake
from finetune_operator.metrics import Metrics
from finetune_operator.observe import Key
from finetune_operator.progress import ProgressBoard, ProgressReader
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
