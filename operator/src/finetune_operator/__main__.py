"""The operator process.

    python -m finetune_operator --trainer-image registry.example.com/finetune-trainer:0.1.0

Ends with 0 when asked to stop (SIGTERM, SIGINT), with 1 when it cannot work, lost its Lease or a part of it died:
Kubernetes starts it again, and it picks up where the cluster stands.
"""

import asyncio
import logging
import signal
import sys
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

from finetune_operator import definition, handlers, logs, rights, web
from finetune_operator.cache import Cache
from finetune_operator.cluster import Cluster, connection, load_configuration
from finetune_operator.election import Alone, Candidate, Election, identity
from finetune_operator.errors import ClusterError, LeadershipLostError, StartupError
from finetune_operator.gpu_memory import GpuMemory
from finetune_operator.intake import Intake
from finetune_operator.metrics import Metrics
from finetune_operator.observe import Key
from finetune_operator.places import PlaceBoard, PlaceReader
from finetune_operator.progress import ProgressBoard, ProgressReader
from finetune_operator.queue import WorkQueue
from finetune_operator.reconcile import Reconciler
from finetune_operator.resync import Resync
from finetune_operator.settings import Settings, read_settings
from finetune_operator.throttle import Throttle
from finetune_operator.worker import work

LEASE_REQUESTS: Final = 10.0
"""A second, to keep a Lease; two tries in two seconds is what is needed."""

Part = Callable[[], Coroutine[Any, Any, None]]
"""Something that runs for as long as the operator does."""

_log: Final = logging.getLogger("finetune_operator")


def main() -> int:
    """Entry point."""
    settings = read_settings(sys.argv[1:])
    logs.configure(settings.log_level)
    # Until the watches run. The first process of a container ignores a signal that nobody handles.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        asyncio.run(_operate(settings))
    except (StartupError, ClusterError, OSError) as error:
        _log.critical("cannot start: %s", error)
        return 1
    except LeadershipLostError as error:
        _log.critical("ends so that no two replicas act: %s", error)
        return 1
    except Exception:
        _log.critical("a part of the operator died", exc_info=True)
        return 1
    return 0


async def _operate(settings: Settings) -> None:
    cache = Cache()
    metrics = Metrics(cache)
    queue: WorkQueue[Key] = WorkQueue(metrics)
    metrics.follow(queue.at_work, settings.workers)
    intake = Intake(cache, queue, awake=False)
    configuration = await load_configuration()
    ready, acting = asyncio.Event(), asyncio.Event()
    async with AsyncExitStack() as stack:
        # Connections and a limit of its own: renewals must not queue behind work.
        leases = Cluster(configuration, Throttle(LEASE_REQUESTS), metrics)
        candidate = _candidate(await stack.enter_async_context(leases), settings)
        throttle = Throttle(settings.requests_per_second)
        cluster = await stack.enter_async_context(Cluster(configuration, throttle, metrics, candidate.fence))
        settings = await _as_served(cluster, settings)
        resync = Resync(cluster, cache, intake, metrics, settings)
        await stack.enter_async_context(
            web.serve(
                settings.port,
                healthy=lambda: "" if resync.healthy else "the cache differs from the cluster: a watch is dead",
                ready=lambda: "" if ready.is_set() else "the cache is not filled yet",
                metrics=metrics,
            )
        )
        await definition.check(cluster)
        await rights.check(cluster, settings)
        gpu_memory = GpuMemory(cluster, settings)
        await gpu_memory.load()
        await resync.load()
        _log.info("cache filled", extra={"jobs": sum(cache.phases().values())})
        duties = _duties(
            cluster=cluster,
            cache=cache,
            intake=intake,
            queue=queue,
            gpu_memory=gpu_memory,
            metrics=metrics,
            settings=settings,
        )

        def lead() -> None:
            metrics.leads(True)
            intake.wake()
            acting.set()

        try:
            await _run_until_asked(
                # A standby's cache is as warm as that of the one that acts: it takes over at once.
                handlers.watch(intake, lambda: connection(configuration), settings, ready=ready),
                resync.run(),
                gpu_memory.run(),
                _after(ready, partial(candidate.run, lead)),
                *(_after(acting, duty) for duty in duties),
                ready=ready,
            )
        finally:
            # By now nothing writes any more.
            await candidate.step_down()


def _duties(
    *,
    cluster: Cluster,
    cache: Cache,
    intake: Intake,
    queue: WorkQueue[Key],
    gpu_memory: GpuMemory,
    metrics: Metrics,
    settings: Settings,
) -> list[Part]:
    """What only the replica that acts does."""
    board, places = ProgressBoard(), PlaceBoard()
    reader = ProgressReader(cluster, cache, queue, board, settings)
    place_reader = PlaceReader(cluster, cache, queue, places, settings)
    reconciler = Reconciler(
        cluster=cluster,
        cache=cache,
        intake=intake,
        board=board,
        places=places,
        gpu_memory=gpu_memory,
        metrics=metrics,
        settings=settings,
        clock=_now,
    )
    asks_for_places = settings.kueue and settings.queue_seconds > 0
    workers: list[Part] = [partial(work, queue, reconciler, metrics)] * settings.workers
    return [reader.run, *([place_reader.run] if asks_for_places else []), *workers]


def _candidate(leases: Cluster, settings: Settings) -> Candidate:
    return Election(leases, *settings.lease, identity=identity()) if settings.lease is not None else Alone()


async def _after(event: asyncio.Event, part: Part) -> None:
    await event.wait()
    await part()


async def _as_served(cluster: Cluster, settings: Settings) -> Settings:
    """The settings as far as the cluster lets them be; Kueue installed later is found at the next start."""
    if settings.kueue and not await cluster.serves("workloads"):
        _log.warning("the cluster does not serve Kueue's Workloads: no queue is served until the operator is restarted")
        return replace(settings, kueue=False)
    return settings


async def _run_until_asked(*parts: Coroutine[Any, Any, None], ready: asyncio.Event) -> None:
    """Run every part until a signal asks to stop. The end of any part, however it came about, is the end of all."""
    asked: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    tasks: list[asyncio.Future[None]] = [asyncio.create_task(part) for part in parts]
    signals = asyncio.create_task(_listen(asked, ready))
    try:
        done, _ = await asyncio.wait({asked, *tasks}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (signals, *tasks):
            task.cancel()
        await asyncio.gather(signals, *tasks, return_exceptions=True)
    for ended in done - {asked}:
        ended.result()
        raise RuntimeError("a watch or worker ended by itself")
    _log.info("stopped")


async def _listen(asked: "asyncio.Future[None]", ready: asyncio.Event) -> None:
    """Signals are ours as soon as kopf, which takes them at its start, is up."""
    await ready.wait()

    def stop() -> None:
        if not asked.done():
            asked.set_result(None)

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop)


def _now() -> datetime:
    return datetime.now(UTC)


if __name__ == "__main__":
    sys.exit(main())
