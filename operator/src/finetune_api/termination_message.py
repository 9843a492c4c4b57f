"""A report as a pod's termination message, which holds at most 4096 bytes (a Kubernetes limit).

Parts are dropped in a stated order until it fits; the pointer to the full report always stays.
"""

from collections.abc import Callable
from typing import Any, Final

from finetune_api.report import TrainerReport
from finetune_api.text import ellipsis

TERMINATION_MESSAGE_BYTES: Final = 4096


def compact(report: TrainerReport, limit: int = TERMINATION_MESSAGE_BYTES) -> str:
    """The report as JSON of at most `limit` bytes.

    Dropped in this order, until it fits: the confusion matrix and worst slices; library versions and lineage; reasons
    of resolved settings; what gates that hold asked for; the training summary; slices; metrics after the fourth; the
    estimate; texts beyond 1000, then 200 bytes; benchmarks; metrics after the first; the page's URI; resolved settings;
    what the other gates asked for; the data summary; the checkpoint; gates after the eighth, then after the first,
    those that hold first. What follows the texts happens only to reports with many gates, or with several URIs of
    nearly the longest kind.
    """
    shrink: list[Callable[[TrainerReport], TrainerReport]] = [
        lambda r: r,
        lambda r: _evaluation(r, labels=[], confusion=[], worst_slices=[]),
        lambda r: r.model_copy(update={"libraries": {}, "lineage": {}}),
        lambda r: r.model_copy(update={"settings": [each.model_copy(update={"why": ""}) for each in r.settings]}),
        lambda r: _gates(r, unsaid=(True,)),
        lambda r: r.model_copy(update={"training": None}),
        lambda r: _evaluation(r, slices=[]),
        lambda r: _first_metrics(r, 4),
        lambda r: r.model_copy(update={"estimate": None}),
        lambda r: _shorten(r, 1000),
        lambda r: _shorten(r, 200),
        lambda r: _evaluation(r, benchmarks=[]),
        lambda r: _first_metrics(r, 1),
        lambda r: r.model_copy(update={"page_uri": None}),
        lambda r: r.model_copy(update={"settings": []}),
        lambda r: _gates(r, unsaid=(True, False)),
        lambda r: r.model_copy(update={"data": None}),
        lambda r: r.model_copy(update={"checkpoint": None}),
        lambda r: _gates(r, count=8),
        lambda r: _gates(r, count=1),
    ]
    text = ""
    for step in shrink:
        report = step(report)
        text = report.model_dump_json(exclude_none=True)
        if len(text.encode()) <= limit:
            return text
    raise AssertionError(f"a report of {len(text.encode())} bytes cannot be compacted to {limit}")


def _first_metrics(report: TrainerReport, count: int) -> TrainerReport:
    return _evaluation(report, metrics=report.evaluation.metrics[:count]) if report.evaluation else report


def _gates(report: TrainerReport, *, unsaid: tuple[bool, ...] = (), count: int | None = None) -> TrainerReport:
    """Without what gates asked for, `unsaid` by whether they hold; of more than `count` those that fail first."""
    if report.evaluation is None:
        return report
    gates = [
        gate.model_copy(update={"wanted": ""}) if gate.passed in unsaid else gate for gate in report.evaluation.gates
    ]
    if count is not None and len(gates) > count:
        gates = sorted(gates, key=lambda gate: gate.passed)[:count]
    return _evaluation(report, gates=gates)


def _evaluation(report: TrainerReport, **parts: Any) -> TrainerReport:
    if report.evaluation is None:
        return report
    return report.model_copy(update={"evaluation": report.evaluation.model_copy(update=parts)})


def _shorten(report: TrainerReport, length: int) -> TrainerReport:
    if report.failure is None:
        return report
    failure = report.failure
    texts = {"message": ellipsis(failure.message, length), "advice": ellipsis(failure.advice, length)}
    return report.model_copy(update={"failure": failure.model_copy(update=texts)})
