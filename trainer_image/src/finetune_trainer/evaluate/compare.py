"""Base against tuned, and the tuned model's rivals: the numbers of the report, and every answer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import Field

from finetune_api.base import Message
from finetune_api.report import EvaluationResult, MetricResult, RivalName, RivalResult, SliceResult
from finetune_trainer.evaluate.errors import Change, ErrorClass, change, count_changes, count_classes
from finetune_trainer.evaluate.intervals import bootstrap, bootstrap_score, tango, wilson
from finetune_trainer.evaluate.metrics import Floats, Metric
from finetune_trainer.evaluate.slices import parts_by_length, parts_by_name, score_parts, worst


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
    tuned_finished: bool = True
    """False where the answer was cut at the limit of new tokens."""
    scores: dict[str, Score]
    change: Change = "unchanged"
    """What tuning did to the row, by the headline metric; by accuracy where that says nothing of a single row."""
    classes: list[ErrorClass] = Field(default=[])
    """In which ways the tuned model's answer is wrong."""


@dataclass(frozen=True, slots=True)
class Example:
    """A test row, for people."""

    source: str
    prompt: str
    reference: str
    dataset: str
    length: int = 0
    """Tokens of the prompt."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What one model did on the test rows, in their order."""

    answers: Sequence[str]
    """What it answered, chose or decided; empty where it was asked nothing."""
    tables: Mapping[str, Floats]
    """By metric: statistics of each row, float64 [rows, k], whose sums the metric is computed from. A rival may lack
    metrics that mean nothing for it."""
    finished: Sequence[bool] | None = None
    """Whether each answer ended by itself; None where nothing was written."""


@dataclass(frozen=True, slots=True)
class Failings:
    """How the rows are told apart where a model fails."""

    classes: Sequence[list[ErrorClass]]
    """Of each row, in which ways the tuned model's answer is wrong."""
    row_metric: Metric | None = None
    """What says whether tuning has fixed or broken a row; None for the headline."""
    is_labelled: bool = False
    """References are labels, of which there are few."""


@dataclass(frozen=True, slots=True)
class _Tables:
    """A metric's row statistics of each model."""

    metric: Metric
    baseline: Floats
    rivals: dict[RivalName, Floats]
    tuned: Floats


def compare_metrics(
    metrics: Sequence[Metric],
    *,
    baseline: Measured,
    rivals: Mapping[RivalName, Measured],
    tuned: Measured,
    seed: int,
) -> list[MetricResult]:
    """Metrics with intervals, in the order of `metrics`."""
    return [_result(_tables(metric, baseline, rivals, tuned), seed) for metric in metrics]


def compare(
    examples: Sequence[Example],
    metrics: Sequence[Metric],
    *,
    baseline: Measured,
    rivals: Mapping[RivalName, Measured],
    tuned: Measured,
    seed: int,
    failings: Failings | None = None,
) -> tuple[EvaluationResult, list[ExampleResult]]:
    """Metrics with intervals, in the order of `metrics`, the first by data set too; and the rows."""
    failings = failings or Failings([[]] * len(examples))
    tables = [_tables(metric, baseline, rivals, tuned) for metric in metrics]
    of_rows = _tables(failings.row_metric or metrics[0], baseline, rivals, tuned)
    changes = [_change(of_rows, index) for index in range(len(examples))]
    result = EvaluationResult(
        rows=len(examples),
        metrics=[_result(table, seed) for table in tables],
        slices=_slices(examples, tables[0]),
        changes=count_changes(changes),
        error_classes=count_classes(failings.classes),
        worst_slices=_worst_slices(examples, of_rows, is_labelled=failings.is_labelled),
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
            tuned_finished=tuned.finished is None or tuned.finished[index],
            scores={table.metric.name: _score(table, index) for table in shown},
            change=changes[index],
            classes=failings.classes[index],
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
    tuned_low, tuned_high = _own_interval(metric, tables.tuned, seed)
    return MetricResult(
        name=metric.name,
        higher_is_better=metric.higher_is_better,
        baseline=_total(metric, tables.baseline),
        rivals=[_rival(name, tables, seed) for name in tables.rivals],
        tuned=_total(metric, tables.tuned),
        low=low,
        high=high,
        interval="tango" if metric.is_binary else "bootstrap",
        tuned_low=tuned_low,
        tuned_high=tuned_high,
    )


def _rival(name: RivalName, tables: _Tables, seed: int) -> RivalResult:
    low, high = _interval(tables.metric, tables.rivals[name], tables.tuned, seed)
    return RivalResult(name=name, score=_total(tables.metric, tables.rivals[name]), low=low, high=high)


def _slices(examples: Sequence[Example], headline: _Tables) -> list[SliceResult]:
    parts = parts_by_name([example.dataset for example in examples])
    return score_parts(parts, headline.metric, headline.baseline, headline.tuned)


def _worst_slices(examples: Sequence[Example], of_rows: _Tables, *, is_labelled: bool) -> list[SliceResult]:
    ways = {
        "dataset": parts_by_name([example.dataset for example in examples]),
        "label": parts_by_name([example.reference for example in examples]) if is_labelled else {},
        "prompt": parts_by_length([example.length for example in examples]),
    }
    parts = {f"{way}: {name}": rows for way, found in ways.items() for name, rows in found.items()}
    metric = of_rows.metric
    scored = score_parts(parts, metric, of_rows.baseline, of_rows.tuned)
    return worst(scored, _total(metric, of_rows.tuned), higher_is_better=metric.higher_is_better)


def _interval(metric: Metric, baseline: Floats, tuned: Floats, seed: int) -> tuple[float, float]:
    if metric.is_binary:
        return tango(baseline[:, 0], tuned[:, 0])
    return bootstrap(baseline, tuned, metric.combine, seed)


def _own_interval(metric: Metric, tuned: Floats, seed: int) -> tuple[float, float]:
    if metric.is_binary:
        return wilson(tuned[:, 0])
    return bootstrap_score(tuned, metric.combine, seed)


def _total(metric: Metric, table: Floats) -> float:
    return float(metric.combine(table.sum(0)))


def _change(tables: _Tables, row: int) -> Change:
    score = _score(tables, row)
    return change(score.baseline, score.tuned, higher_is_better=tables.metric.higher_is_better)


def _score(tables: _Tables, row: int) -> Score:
    def of(table: Floats) -> float:
        return float(tables.metric.combine(np.asarray(table[row])))

    return Score(
        baseline=of(tables.baseline),
        rivals={name: of(table) for name, table in tables.rivals.items()},
        tuned=of(tables.tuned),
    )
