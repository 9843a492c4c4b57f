"""Base against tuned, and against the base with worked examples: the numbers of the report, and every answer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import Field

from finetune_api.base import Message
from finetune_api.report import EvaluationResult, MetricResult, RivalName, RivalResult
from finetune_trainer.data.prompts import Prompt
from finetune_trainer.evaluate.intervals import bootstrap, tango
from finetune_trainer.evaluate.measure import Measured
from finetune_trainer.evaluate.metrics import METRICS, Floats, Metric, loss_table, perplexity, ratio

_LOSS = Metric("loss", lambda _answer, _reference: (), ratio, higher_is_better=False)
_PERPLEXITY = Metric("perplexity", lambda _answer, _reference: (), perplexity, higher_is_better=False)


class Score(Message):
    """One metric of one row."""

    baseline: float
    rivals: dict[RivalName, float] = Field(default={})
    tuned: float


class ExampleResult(Message):
    """One test row with every answer; a line of `examples.jsonl`."""

    source: str
    """File and line of the row."""
    prompt: str
    reference: str
    baseline: str
    rivals: dict[RivalName, str] = Field(default={})
    tuned: str
    scores: dict[str, Score]


@dataclass(frozen=True, slots=True)
class _Tables:
    """A metric's row statistics, float64 [rows, k], of each model."""

    metric: Metric
    baseline: Floats
    rivals: dict[RivalName, Floats]
    tuned: Floats


def compare(
    prompts: Sequence[Prompt],
    *,
    baseline: Measured,
    rivals: Mapping[RivalName, Measured],
    tuned: Measured,
    metrics: Sequence[str],
    seed: int,
) -> tuple[EvaluationResult, list[ExampleResult]]:
    """Metrics with intervals, in the order of `metrics` and then loss and perplexity; and the rows."""
    references = [prompt.reference for prompt in prompts]
    names = dict.fromkeys(metrics)
    tables = [_answer_tables(METRICS[name], references, baseline, rivals, tuned) for name in names]
    losses = [_loss_tables(metric, baseline, rivals, tuned) for metric in (_LOSS, _PERPLEXITY)]
    results = [_result(table, seed) for table in (*tables, *losses)]
    rows = [
        ExampleResult(
            source=str(prompt.source),
            prompt=prompt.question,
            reference=prompt.reference,
            baseline=baseline.answers[index],
            rivals={name: rival.answers[index] for name, rival in rivals.items()},
            tuned=tuned.answers[index],
            scores={table.metric.name: _score(table, index) for table in (*tables, losses[0])},
        )
        for index, prompt in enumerate(prompts)
    ]
    return EvaluationResult(rows=len(prompts), metrics=results), rows


def _answer_tables(
    metric: Metric,
    references: list[str],
    baseline: Measured,
    rivals: Mapping[RivalName, Measured],
    tuned: Measured,
) -> _Tables:
    return _Tables(
        metric,
        metric.table(baseline.answers, references),
        {name: metric.table(rival.answers, references) for name, rival in rivals.items()},
        metric.table(tuned.answers, references),
    )


def _loss_tables(metric: Metric, baseline: Measured, rivals: Mapping[RivalName, Measured], tuned: Measured) -> _Tables:
    tables = {name: loss_table(rival.losses) for name, rival in rivals.items()}
    return _Tables(metric, loss_table(baseline.losses), tables, loss_table(tuned.losses))


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
