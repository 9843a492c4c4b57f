"""Prometheus metrics, under the names that dashboards for Kubernetes controllers know; labels are bounded."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from finetune_api.names import MANAGER
from finetune_operator.cache import Cache

_SECONDS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 60)


class Metrics:
    """All metrics of one operator, in a registry of their own."""

    def __init__(self, cache: Cache) -> None:
        self._registry = registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=registry)
        registry.register(_JobsByPhase(cache))
        name = {"name": "finetunejobs"}
        self._depth = Gauge("workqueue_depth", "Keys waiting", list(name), registry=registry).labels(**name)
        self._adds = Counter("workqueue_adds", "Keys added", list(name), registry=registry).labels(**name)
        self._retries = Counter("workqueue_retries", "Keys retried", list(name), registry=registry).labels(**name)
        self._waited = Histogram(
            "workqueue_queue_duration_seconds",
            "Wait of a key",
            list(name),
            registry=registry,
            buckets=_SECONDS,
        ).labels(**name)
        self._reconciled = Counter(
            "controller_runtime_reconcile", "Reconciliations", ["controller", "result"], registry=registry
        )
        self._reconcile_seconds = Histogram(
            "controller_runtime_reconcile_time_seconds",
            "Length of reconciliations",
            ["controller"],
            registry=registry,
            buckets=_SECONDS,
        ).labels(controller="finetunejob")
        self._requests = Counter(
            "rest_client_requests", "Requests to the API server", ["method", "code"], registry=registry
        )
        self._drift = Gauge(
            "finetune_cache_drift", "Objects in which the cache differed from the cluster", registry=registry
        )
        self._gpu_seconds = Counter(
            "finetune_gpu_seconds", "GPU seconds of ended attempts", ["namespace", "outcome"], registry=registry
        )
        self._leader = Gauge(
            "leader_election_master_status", "1 while this replica acts, else 0", ["name"], registry=registry
        ).labels(name=MANAGER)
        self._finished = Counter("finetune_jobs_finished", "Jobs that ended", ["phase", "reason"], registry=registry)

    def added(self, depth: int) -> None:
        """A key came in."""
        self._adds.inc()
        self._depth.set(depth)

    def started(self, depth: int, waited: float) -> None:
        """A worker took a key."""
        self._depth.set(depth)
        self._waited.observe(waited)

    def retried(self) -> None:
        """A key failed and comes back later."""
        self._retries.inc()

    def reconciled(self, result: str, seconds: float) -> None:
        """A reconciliation ended with success or error."""
        self._reconciled.labels(controller="finetunejob", result=result).inc()
        self._reconcile_seconds.observe(seconds)

    def requested(self, method: str, status: int) -> None:
        """A request to the API server was answered; status 0 where it was not."""
        self._requests.labels(method=method, code=str(status) if status else "<error>").inc()

    def leads(self, holds: bool) -> None:
        """The replica began to act, or ceased to."""
        self._leader.set(int(holds))

    def drifted(self, objects: int) -> None:
        """A comparison of the cache with the cluster ended."""
        self._drift.set(objects)

    def held_gpus(self, namespace: str, outcome: str, seconds: int) -> None:
        """An attempt ended that had held GPUs for so long, times their number."""
        self._gpu_seconds.labels(namespace=namespace, outcome=outcome).inc(seconds)

    def finished(self, phase: str, reason: str) -> None:
        """A job ended."""
        self._finished.labels(phase=phase, reason=reason).inc()

    def render(self) -> bytes:
        """Prometheus' text format."""
        return generate_latest(self._registry)


class _JobsByPhase(Collector):
    """Counted when asked for, so that no event can be missed."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache

    def collect(self) -> Iterator[GaugeMetricFamily]:
        family = GaugeMetricFamily("finetune_jobs", "FinetuneJobs by phase", labels=["phase"])
        for phase, count in self._cache.phases().items():
            family.add_metric([phase], count)
        yield family
