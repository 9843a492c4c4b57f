"""Base against tuned, and against the base with worked examples: the numbers of the report, and every answer."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from finetune_api.base import Message
from finetune_api.report import EvaluationResult, MetricResult
from finetune_api.spec.evaluation import Evaluation
from finetune_trainer.data.prompts import Prompt
from finetune_trainer.evaluate.intervals import bootstrap, tango
from finetune_trainer.evaluate.measure import Measured
from finetune_trainer.evaluate.metrics import METRICS, Floats, Metric, loss_table, perplexity, ratio

_LOSS = Metric("loss", lambda _answer, _reference: (), ratio, higher_is_better=False)
_PERPLEXITY = Metric("perplexity", lambda _answer, _reference: (), perplexity, higher_is_better=False)


class Score(Message):
    """One metric of one row."""

    baseline: float
    few_shot: float | None
    tuned: float


class ExampleResult(Message):
    """One test row with every answer; a line of `examples.jsonl`."""

    source: str
    """File and line of the row."""
    prompt: str
    reference: str
    baseline: str
    few_shot: str | None
    tuned: str
    scores: dict[str, Score]


@dataclass(frozen=True, slots=True)
class _Tables:
    """A metric's row statistics, float64 [rows, k], of each model."""

    metric: Metric
    baseline: Floats
    few_shot: Floats | None
    tuned: Floats


def compare(
    prompts: Sequence[Prompt],
    *,
    baseline: Measured,
    few_shot: Measured | None,
    tuned: Measured,
    evaluation: Evaluation,
    seed: int,
) -> tuple[EvaluationResult, list[ExampleResult]]:
    """Metrics with intervals, in the order of `evaluation.metrics` and then loss and perplexity; and the rows."""
    references = [prompt.reference for prompt in prompts]
    names = dict.fromkeys(evaluation.metrics)
    tables = [_answer_tables(METRICS[name], references, baseline, few_shot, tuned) for name in names]
    losses = [_loss_tables(metric, baseline, few_shot, tuned) for metric in (_LOSS, _PERPLEXITY)]
    metrics = [_result(table, seed) for table in (*tables, *losses)]
    rows = [
        ExampleResult(
            source=str(prompt.source),
            prompt=prompt.question,
            reference=prompt.reference,
            baseline=baseline.answers[index],
            few_shot=few_shot.answers[index] if few_shot else None,
            tuned=tuned.answers[index],
            scores={table.metric.name: _score(table, index) for table in (*tables, losses[0])},
        )
        for index, prompt in enumerate(prompts)
    ]
    return EvaluationResult(rows=len(prompts), metrics=metrics), rows


def _answer_tables(
    metric: Metric, references: list[str], baseline: Measured, few_shot: Measured | None, tuned: Measured
) -> _Tables:
    return _Tables(
        metric,
        metric.table(baseline.answers, references),
        metric.table(few_shot.answers, references) if few_shot else None,
        metric.table(tuned.answers, references),
    )


def _loss_tables(metric: Metric, baseline: Measured, few_shot: Measured | None, tuned: Measured) -> _Tables:
    rival = loss_table(few_shot.losses) if few_shot else None
    return _Tables(metric, loss_table(baseline.losses), rival, loss_table(tuned.losses))


def _result(tables: _Tables, seed: int) -> MetricResult:
    metric = tables.metric
    low, high = _interval(metric, tables.baseline, tables.tuned, seed)
    rival = tables.few_shot
    rival_low, rival_high = (None, None) if rival is None else _interval(metric, rival, tables.tuned, seed)
    return MetricResult(
        name=metric.name,
        higher_is_better=metric.higher_is_better,
        baseline=_total(metric, tables.baseline),
        few_shot=None if rival is None else _total(metric, rival),
        tuned=_total(metric, tables.tuned),
        low=low,
        high=high,
        few_shot_low=rival_low,
        few_shot_high=rival_high,
        interval="tango" if metric.is_binary else "bootstrap",
    )


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
        few_shot=None if tables.few_shot is None else of(tables.few_shot),
        tuned=of(tables.tuned),
    )
