"""Every metric of operator and trainer, as they export it: each is made to tell something, and is then read."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from io import StringIO
from typing import Any, Final

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from finetune_api.progress import Progress
from finetune_api.report import SavedCheckpoint
from finetune_api.status import FinetuneJobStatus
from finetune_operator.cache import Cache, StoredJob
from finetune_operator.metrics import Metrics
from finetune_trainer.exporter import registry
from finetune_trainer.progress_lines import ProgressLines

AT: Final = "2026-01-01T00:00:00Z"
LATER: Final = "2026-01-01T00:01:00Z"
NOW: Final = datetime(2026, 1, 1, 0, 2, tzinfo=UTC)


@dataclass(frozen=True)
class Exported:
    """One metric."""

    name: str
    """As it is asked for, a counter's with `_total`."""
    type: str
    labels: tuple[str, ...]
    meaning: str

    @property
    def series(self) -> set[str]:
        """Names by which it is asked for."""
        parts = {f"{self.name}_{part}" for part in ("bucket", "sum", "count")}
        return parts if self.type == "histogram" else {self.name}


def of_the_operator() -> list[Exported]:
    """What `/metrics` of the operator tells."""
    return list(_read(told_metrics().registry))


def of_the_trainer() -> list[Exported]:
    """What `/metrics` of a training pod tells."""
    lines = ProgressLines(StringIO())
    saved = SavedCheckpoint(step=1, uri="s3://b/c", saved_at=AT)
    known: dict[str, Any] = dict.fromkeys(("loss", "tokens_per_second", "supervised_tokens_per_second", "mfu"), 1.0)
    lines.progress = Progress(stage="training", checkpoint=saved, input_stall=0.1, peak_memory_bytes=1, **known)
    return list(_read(registry(lines)))


def families(text: str) -> set[tuple[str, str]]:
    """Name and type of each metric that an endpoint tells of, a counter's with `_total`."""
    found = text_string_to_metric_families(text)
    return {(family.name + ("_total" if family.type == "counter" else ""), family.type) for family in found}


def told_metrics() -> Metrics:
    """The operator's, when each has been told something."""
    cache = Cache()
    for uid, status in (("1", _condition("Stalled", "True", "QuotaExceeded")), ("2", _at_work())):
        metadata = {"namespace": "team", "name": uid, "uid": uid, "resourceVersion": "1"}
        cache.put_finetune_job(StoredJob.pack({"metadata": metadata, "status": status}))
    metrics = Metrics(cache)
    metrics.added(1)
    metrics.started(0, 0.1)
    metrics.ended(0.1)
    metrics.retried()
    for result in ("success", "requeue_after", "error"):
        metrics.reconciled(result, 0.1)
    metrics.throttled("GET", 0.1)
    metrics.requested("GET", "pods", 200, 0.1)
    metrics.leads(True)
    metrics.drifted(0)
    before, after = _restarted()
    metrics.jobs.changed("team", FinetuneJobStatus(), before, NOW)
    metrics.jobs.changed("team", before, after, NOW)
    failure = {"class": "Data", "reason": "DatasetEmpty", "message": "", "advice": "", "retryable": False}
    metrics.jobs.finished("team", FinetuneJobStatus.model_validate({"phase": "Failed", "failure": failure}))
    return metrics


def _restarted() -> tuple[FinetuneJobStatus, FinetuneJobStatus]:
    """A job whose first attempt was preempted, and whose second runs."""
    gone = {"pod": "a", "uid": "a", "outcome": "Preempted", "reason": "Disrupted", "startedAt": AT, "finishedAt": AT}
    again = {"pod": "b", "uid": "b", "outcome": "Running", "startedAt": LATER}
    return (
        FinetuneJobStatus.model_validate({"attempts": [gone]}),
        FinetuneJobStatus.model_validate({"attempts": [gone, again]}),
    )


def _at_work() -> dict[str, Any]:
    return {"phase": "Running", "progress": {"stage": "training"}, "checkpoint": {"savedAt": AT}}


def _condition(kind: str, status: str, reason: str) -> dict[str, Any]:
    return {"conditions": [{"type": kind, "status": status, "reason": reason}]}


def _read(told: CollectorRegistry) -> Iterator[Exported]:
    for family in text_string_to_metric_families(generate_latest(told).decode()):
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        name = family.name + ("_total" if family.type == "counter" else "")
        assert family.samples, f"{name} was told nothing"
        yield Exported(name, family.type, tuple(sorted(labels)), family.documentation)
