"""Base against tuned, and the tuned model's rivals: the numbers of the report, and every answer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import Field

from finetune_api.base import Message
from finetune_api.report import EvaluationResult, MetricResult, RivalName, RivalResult, SliceResult
from finetune_trainer.evaluate.intervals import bootstrap, tango
from finetune_trainer.evaluate.metrics import Floats, Metric


class Score(Message):
    """One metric of one row."""

    baseline: float
    rivals: dict[RivalName, float] = Field(default={})
    tuned: float


class ExampleResult(Message):
    """One test row with every answer; a line of `examples.jsonl`."""

    source: str
    """File and line of the row."""
    dataset: str
    """Name of its data set."""
    prompt: str
    reference: str
    baseline: str
    rivals: dict[RivalName, str] = Field(default={})
    tuned: str
    scores: dict[str, Score]


@dataclass(frozen=True, slots=True)
class Example:
    """A test row, for people."""

    source: str
    prompt: str
    reference: str
    dataset: str


@dataclass(frozen=True, slots=True)
class Measured:
    """What one model did on the test rows, in their order."""

    answers: Sequence[str]
    """What it answered, chose or decided; empty where it was asked nothing."""
    tables: Mapping[str, Floats]
    """By metric: statistics of each row, float64 [rows, k], whose sums the metric is computed from. A rival may lack
    metrics that mean nothing for it."""


@dataclass(frozen=True, slots=True)
class _Tables:
    """A metric's row statistics of each model."""

    metric: Metric
    baseline: Floats
    rivals: dict[RivalName, Floats]
    tuned: Floats


def compare(
    examples: Sequence[Example],
    metrics: Sequence[Metric],
    *,
    baseline: Measured,
    rivals: Mapping[RivalName, Measured],
    tuned: Measured,
    seed: int,
) -> tuple[EvaluationResult, list[ExampleResult]]:
    """Metrics with intervals, in the order of `metrics`, the first by data set too; and the rows."""
    tables = [_tables(metric, baseline, rivals, tuned) for metric in metrics]
    result = EvaluationResult(
        rows=len(examples),
        metrics=[_result(table, seed) for table in tables],
        slices=_slices(examples, tables[0]),
    )
    shown = [table for table in tables if table.metric.of_a_row]
    rows = [
        ExampleResult(
            source=example.source,
            dataset=example.dataset,
            prompt=example.prompt,
            reference=example.reference,
            baseline=baseline.answers[index],
            rivals={name: rival.answers[index] for name, rival in rivals.items()},
            tuned=tuned.answers[index],
            scores={table.metric.name: _score(table, index) for table in shown},
        )
        for index, example in enumerate(examples)
    ]
    return result, rows


def _tables(metric: Metric, baseline: Measured, rivals: Mapping[RivalName, Measured], tuned: Measured) -> _Tables:
    name = metric.name
    theirs = {who: rival.tables[name] for who, rival in rivals.items() if name in rival.tables}
    return _Tables(metric, baseline.tables[name], theirs, tuned.tables[name])


def _result(tables: _Tables, seed: int) -> MetricResult:
    metric = tables.metric
    low, high = _interval(metric, tables.baseline, tables.tuned, seed)
    return MetricResult(
        name=metric.name,
        higher_is_better=metric.higher_is_better,
        baseline=_total(metric, tables.baseline),
        rivals=[_rival(name, tables, seed) for name in tables.rivals],
        tuned=_total(metric, tables.tuned),
        low=low,
        high=high,
        interval="tango" if metric.is_binary else "bootstrap",
    )


def _rival(name: RivalName, tables: _Tables, seed: int) -> RivalResult:
    low, high = _interval(tables.metric, tables.rivals[name], tables.tuned, seed)
    return RivalResult(name=name, score=_total(tables.metric, tables.rivals[name]), low=low, high=high)


def _slices(examples: Sequence[Example], headline: _Tables) -> list[SliceResult]:
    names = np.array([example.dataset for example in examples])
    found = list(dict.fromkeys(names.tolist()))
    if len(found) < 2:
        return []
    return [
        SliceResult(
            name=name,
            rows=int((names == name).sum()),
            baseline=_total(headline.metric, headline.baseline[names == name]),
            tuned=_total(headline.metric, headline.tuned[names == name]),
        )
        for name in sorted(found)
    ]


def _interval(metric: Metric, baseline: Floats, tuned: Floats, seed: int) -> tuple[float, float]:
    if metric.is_binary:
        return tango(baseline[:, 0], tuned[:, 0])
    return bootstrap(baseline, tuned, metric.combine, seed)


def _total(metric: Metric, table: Floats) -> float:
    return float(metric.combine(table.sum(0)))


def _score(tables: _Tables, row: int) -> Score:
    def of(table: Floats) -> float:
        return float(tables.metric.combine(np.asarray(table[row])))

    return Score(
        baseline=of(tables.baseline),
        rivals={name: of(table) for name, table in tables.rivals.items()},
        tuned=of(tables.tuned),
    )
