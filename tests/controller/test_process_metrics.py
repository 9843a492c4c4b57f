"""The process's own metrics: queue, workers and requests, under controller-runtime's and client-go's names."""

import asyncio

import pytest

from finetune_operator.cache import Cache
from finetune_operator.cluster import resource_of
from finetune_operator.metrics import Metrics
from finetune_operator.queue import WorkQueue

QUEUE = {"name": "finetunejobs"}


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(Cache())


@pytest.mark.parametrize(
    ("path", "resource"),
    [
        ("/api/v1/pods", "pods"),
        ("/api/v1/namespaces/team/pods", "pods"),
        ("/api/v1/namespaces/team/pods/pods/log", "pods/log"),
        ("/apis/batch/v1/namespaces/team/jobs/tune-train", "jobs"),
        ("/apis/finetune.dev/v1alpha1/namespaces/team/finetunejobs/tune/status", "finetunejobs/status"),
        ("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", "selfsubjectaccessreviews"),
        ("/apis/k/v1/namespaces/team/localqueues/q/pendingworkloads", "localqueues/pendingworkloads"),
        ("/apis/kueue.x-k8s.io/v1beta2", ""),
    ],
)
def test_a_request_is_counted_by_resource_and_never_by_an_object_s_name(path: str, resource: str) -> None:
    assert resource_of(path) == resource


async def test_the_queue_tells_of_keys_that_wait_are_worked_on_and_come_back(metrics: Metrics) -> None:
    queue: WorkQueue[str] = WorkQueue(metrics)
    metrics.follow(queue.at_work, 3)

    def value(name: str, labels: dict[str, str] = QUEUE) -> float | None:
        return metrics.registry.get_sample_value(name, labels)

    queue.add("a")
    queue.add("a")
    queue.add("b")
    assert (value("workqueue_adds_total"), value("workqueue_depth")) == (2, 2)
    key = await queue.get()
    await asyncio.sleep(0.01)
    assert value("workqueue_depth") == 1
    assert value("workqueue_queue_duration_seconds_count") == 1
    longest = value("workqueue_longest_running_processor_seconds")
    assert longest is not None
    assert longest >= 0.01
    controller = {"controller": "finetunejob"}
    assert value("controller_runtime_active_workers", controller) == 1
    assert value("controller_runtime_max_concurrent_reconciles", controller) == 3
    queue.retry(key)
    queue.done(key)
    assert value("workqueue_retries_total") == 1
    worked = value("workqueue_work_duration_seconds_sum")
    assert worked is not None
    assert worked >= 0.01
    assert value("workqueue_longest_running_processor_seconds") == 0


def test_an_error_is_counted_among_results_and_by_itself(metrics: Metrics) -> None:
    for result in ("success", "requeue_after", "error"):
        metrics.reconciled(result, 0.1)
    value = metrics.registry.get_sample_value
    found = [
        value("controller_runtime_reconcile_total", {"controller": "finetunejob", "result": r})
        for r in ("success", "error")
    ]
    assert found == [1, 1]
    assert value("controller_runtime_reconcile_errors_total", {"controller": "finetunejob"}) == 1


def test_there_is_one_series_for_each_counter(metrics: Metrics) -> None:
    assert b"_created" not in metrics.render()
