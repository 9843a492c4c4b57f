"""Status writes of running jobs: how many a second in all, how old what status says is, and what it costs the operator.

    python -m benchmarks.progress

The operator's own reader, queue, workers and reconciler, on an API server in memory whose pods' logs move on at every
look. Time is virtual: two minutes of the operator pass in as long as its processor needs for them. The processor's
share holds that of the API server in memory, and no TLS and no JSON on the wire.

Budget: 20 writes a second in all for 1,000 running jobs. 2026-11-27, on two cores that did other work too:

    running jobs   writes a second   a job's turn comes every   processor
               1               0.2                        5 s       0.0 %
              10               2.0                        5 s       0.3 %
             100              20.0                        5 s       2.3 %
           1,000              20.0                       50 s       3.3 %
           5,000              20.0                      250 s       6.4 %
"""

import argparse
import asyncio
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, cast

import cluster_objects as o
from rich.console import Console
from rich.table import Table
from scenarios import VALIDATED
from virtual_time import run_virtually

from finetune_api.progress import Progress, encode
from finetune_operator.cache import Cache
from finetune_operator.cluster import Cluster
from finetune_operator.gpu_memory import GpuMemory
from finetune_operator.intake import Intake
from finetune_operator.metrics import Metrics
from finetune_operator.observe import Key
from finetune_operator.places import PlaceBoard
from finetune_operator.progress import ProgressBoard, ProgressReader
from finetune_operator.queue import WorkQueue
from finetune_operator.reconcile import Reconciler
from finetune_operator.settings import Settings
from finetune_operator.worker import work

SETTINGS = Settings(trainer_image="any")


@dataclass
class Memory:
    """An API server that holds FinetuneJobs and knows the newest line of every pod."""

    jobs: dict[str, o.Raw] = field(default_factory=dict)
    version: int = 100
    writes: list[tuple[float, str]] = field(default_factory=list)

    async def pod_log(self, *_: str, **__: int) -> str:
        step = int(asyncio.get_running_loop().time()) + 1
        return encode(Progress(stage="training", step=step, total_steps=10**6, loss=1.5, tokens_per_second=150.0))

    async def patch_status(self, _namespace: str, name: str, _version: o.Raw, status: o.Raw) -> o.Raw:
        self.version += 1
        self.writes.append((asyncio.get_running_loop().time(), name))
        job = self.jobs[name]
        metadata = {**job["metadata"], "resourceVersion": str(self.version)}
        self.jobs[name] = {**job, "metadata": metadata, "status": _merged(job["status"], status)}
        return self.jobs[name]

    async def create_event(self, _manifest: o.Raw) -> None:
        """Nothing of progress is an Event."""


def _merged(old: Any, patch: Any) -> Any:
    if not isinstance(patch, dict) or not isinstance(old, dict):
        return patch
    new = {**old, **{name: _merged(old.get(name), value) for name, value in patch.items()}}
    return {name: value for name, value in new.items() if value is not None}


async def operate(count: int, seconds: float) -> Memory:
    """An operator on so many running jobs for so many seconds."""
    memory, cache = Memory(), Cache()
    metrics = Metrics(cache)
    queue: WorkQueue[Key] = WorkQueue(metrics)
    intake, board = Intake(cache, queue), ProgressBoard()
    for number in range(count):
        memory.jobs[f"job-{number}"] = start(intake, f"job-{number}")
    cluster = cast("Cluster", memory)
    reconciler = Reconciler(
        cluster=cluster,
        cache=cache,
        intake=intake,
        board=board,
        places=PlaceBoard(),
        gpu_memory=GpuMemory(cluster, SETTINGS),
        metrics=metrics,
        settings=SETTINGS,
        clock=lambda: datetime.now(UTC),
    )
    workers = [asyncio.create_task(work(queue, reconciler, metrics)) for _ in range(SETTINGS.workers)]
    await asyncio.sleep(1)
    memory.writes.clear()
    reader = asyncio.create_task(ProgressReader(cluster, cache, queue, board, SETTINGS).run())
    await asyncio.sleep(seconds)
    for task in (reader, *workers):
        task.cancel()
    await asyncio.gather(reader, *workers, return_exceptions=True)
    return memory


def start(intake: Intake, name: str) -> o.Raw:
    """A FinetuneJob whose trainer is at work."""
    pod = o.running("train", name=f"{name}-train-0-abcde")
    pod["metadata"]["ownerReferences"][0]["uid"] = f"train-{name}"
    child = o.child_job("train", name=f"{name}-train", uid=f"train-{name}")
    child["metadata"]["ownerReferences"][0] |= {"name": name, "uid": name}
    job = o.finetune_job(status=VALIDATED, name=name, uid=name)
    intake.take("finetunejobs", job)
    intake.take("jobs", child)
    intake.take("pods", pod)
    return job


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=120)
    seconds = parser.parse_args().seconds
    table = Table("running jobs", "writes a second", "a job's turn comes every", "processor")
    for count in (1, 10, 100, 1000, 5000):
        began = time.process_time()
        memory = run_virtually(operate(count, seconds))
        spent = time.process_time() - began
        rate = len(memory.writes) / seconds
        table.add_row(f"{count:,}", f"{rate:.1f}", f"{count / rate:.0f} s", f"{spent / seconds:.1%}")
    Console().print(table)


if __name__ == "__main__":
    main()
