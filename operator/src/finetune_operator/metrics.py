"""Prometheus metrics of the process, under the names that dashboards for Kubernetes controllers know.

They are controller-runtime's and client-go's, with their labels. No label is a job's name, and none holds a text that
users choose; docs/metrics.md lists every metric.
"""

from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, disable_created_metrics
from prometheus_client import generate_latest as render
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from finetune_operator.cache import Cache
from finetune_operator.job_metrics import JobMetrics, JobsNow

_SECONDS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 60)
_CONTROLLER = "finetunejob"
_QUEUE = "finetunejobs"
_LEADER = "finetune-operator"

# A second series for each counter and histogram, which Prometheus' text format has no use for.
disable_created_metrics()  # type: ignore[no-untyped-call]


class Metrics:
    """All metrics of one operator, in a registry of their own."""

    def __init__(self, cache: Cache) -> None:
        self.registry = registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=registry)
        Info("finetune_operator", "The operator's version", registry=registry).info({"version": _version()})
        registry.register(JobsNow(cache))
        self.jobs = JobMetrics(registry)
        self._busy = _Busy()
        registry.register(self._busy)
        self._define_queue(registry)
        self._define_reconcile(registry)
        self._define_client(registry)
        self._leader = Gauge(
            "leader_election_master_status", "1 while this replica acts, else 0", ["name"], registry=registry
        ).labels(name=_LEADER)
        self._drift = Gauge(
            "finetune_cache_drift",
            "Objects that the watches had missed, by the newest comparison of the cache with the cluster",
            registry=registry,
        )

    def _define_queue(self, registry: CollectorRegistry) -> None:
        name = {"name": _QUEUE}
        self._depth = Gauge("workqueue_depth", "Keys that wait for a worker", list(name), registry=registry)
        self._adds = Counter("workqueue_adds", "Keys that came in", list(name), registry=registry)
        self._retries = Counter(
            "workqueue_retries", "Keys that come back after an error", list(name), registry=registry
        )
        self._waited = Histogram(
            "workqueue_queue_duration_seconds",
            "Time that keys wait for a worker",
            list(name),
            registry=registry,
            buckets=_SECONDS,
        )
        self._worked = Histogram(
            "workqueue_work_duration_seconds",
            "Time that a worker has a key",
            list(name),
            registry=registry,
            buckets=_SECONDS,
        )
        for each in (self._depth, self._adds, self._retries, self._waited, self._worked):
            each.labels(**name)

    def _define_reconcile(self, registry: CollectorRegistry) -> None:
        self._reconciled = Counter(
            "controller_runtime_reconcile",
            "Looks at a FinetuneJob: success, requeue_after (one that time alone brings back) or error",
            ["controller", "result"],
            registry=registry,
        )
        self._errors = Counter(
            "controller_runtime_reconcile_errors",
            "Looks that ended with an error",
            ["controller"],
            registry=registry,
        ).labels(controller=_CONTROLLER)
        self._reconcile_seconds = Histogram(
            "controller_runtime_reconcile_time_seconds",
            "Time that a look takes",
            ["controller"],
            registry=registry,
            buckets=_SECONDS,
        ).labels(controller=_CONTROLLER)

    def _define_client(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            "rest_client_requests",
            "Requests to the API server; code <error> where there was no answer",
            ["method", "resource", "code"],
            registry=registry,
        )
        self._request_seconds = Histogram(
            "rest_client_request_duration_seconds",
            "Time until the API server's answer",
            ["verb", "resource"],
            registry=registry,
            buckets=_SECONDS,
        )
        self._throttled = Histogram(
            "rest_client_rate_limiter_duration_seconds",
            "Time that requests wait for the operator's own limit",
            ["verb"],
            registry=registry,
            buckets=_SECONDS,
        )

    def follow(self, at_work: Callable[[], Sequence[float]], workers: int) -> None:
        """Tell from now on how long each of the keys that workers have now has been with them."""
        self._busy.at_work, self._busy.workers = at_work, workers

    def added(self, depth: int) -> None:
        """A key came in."""
        self._adds.labels(name=_QUEUE).inc()
        self._depth.labels(name=_QUEUE).set(depth)

    def started(self, depth: int, waited: float) -> None:
        """A worker took a key."""
        self._depth.labels(name=_QUEUE).set(depth)
        self._waited.labels(name=_QUEUE).observe(waited)

    def ended(self, worked: float) -> None:
        """A worker gave a key back."""
        self._worked.labels(name=_QUEUE).observe(worked)

    def retried(self) -> None:
        """A key failed and comes back later."""
        self._retries.labels(name=_QUEUE).inc()

    def reconciled(self, result: str, seconds: float) -> None:
        """A reconciliation ended: success, requeue_after or error."""
        self._reconciled.labels(controller=_CONTROLLER, result=result).inc()
        self._reconcile_seconds.observe(seconds)
        if result == "error":
            self._errors.inc()

    def throttled(self, method: str, seconds: float) -> None:
        """A request waited for its turn."""
        self._throttled.labels(verb=method).observe(seconds)

    def requested(self, method: str, resource: str, status: int, seconds: float) -> None:
        """A request to the API server was answered; status 0 where it was not."""
        self._requests.labels(method=method, resource=resource, code=str(status) if status else "<error>").inc()
        self._request_seconds.labels(verb=method, resource=resource).observe(seconds)

    def leads(self, holds: bool) -> None:
        """The replica that this is began to act, or ceased to."""
        self._leader.set(int(holds))

    def drifted(self, objects: int) -> None:
        """A comparison of the cache with the cluster ended."""
        self._drift.set(objects)

    def render(self) -> bytes:
        """Prometheus' text format."""
        return render(self.registry)


def _version() -> str:
    try:
        return version(_LEADER)
    except PackageNotFoundError:  # run from a source tree
        return "unknown"


class _Busy(Collector):
    """What workers do now, asked when Prometheus asks: a worker that hangs would never tell."""

    at_work: Callable[[], Sequence[float]] = staticmethod(tuple)
    workers = 0

    def collect(self) -> Iterator[GaugeMetricFamily]:
        seconds = self.at_work()
        queue, controller = (["name"], [_QUEUE]), (["controller"], [_CONTROLLER])
        told = (
            ("workqueue_unfinished_work_seconds", "Age of all that workers have now, summed", queue, sum(seconds)),
            (
                "workqueue_longest_running_processor_seconds",
                "Age of the oldest that a worker has now",
                queue,
                max(seconds, default=0.0),
            ),
            ("controller_runtime_active_workers", "Workers that have a key now", controller, len(seconds)),
            ("controller_runtime_max_concurrent_reconciles", "Workers that there are", controller, self.workers),
        )
        for name, meaning, (labels, values), value in told:
            family = GaugeMetricFamily(name, meaning, labels=labels)
            family.add_metric(values, value)
            yield family
