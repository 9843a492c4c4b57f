"""Public benchmarks: every model answers the same questions, and paired rows give the intervals."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from finetune_api.report import MetricResult, RivalName
from finetune_trainer.evaluate.compare import Measured, compare_metrics
from finetune_trainer.evaluate.examiner import Bench
from finetune_trainer.evaluate.metrics import Floats, Metric, ratio

if TYPE_CHECKING:
    from finetune_trainer.evaluate.harness import Questions


class Benchmarks:
    """What a language model can do besides its own task."""

    def __init__(self, bench: Bench, questions: "Sequence[Questions]") -> None:
        """`questions` are those of each benchmark."""
        self._bench, self._questions = bench, questions

    def measure(self, model: Any) -> Measured:
        """A causal language model's score of every question, by the name of the task.

        Raises:
            StopRequested: asked to stop between two batches.

        """
        if not self._questions:
            return Measured([], {})
        from finetune_trainer.evaluate.harness_model import HarnessModel  # noqa: PLC0415  only where it is asked for

        asked = HarnessModel(model, self._bench)
        return Measured([], {each.name: _table(each.score(asked)) for each in self._questions})

    def compare(
        self, *, baseline: Measured, rivals: Mapping[RivalName, Measured], tuned: Measured
    ) -> list[MetricResult]:
        """Each task's score with its interval, in the spec's order."""
        if not self._questions:
            return []
        metrics = [self._metric(each, [baseline, *rivals.values(), tuned]) for each in self._questions]
        return compare_metrics(metrics, baseline=baseline, rivals=rivals, tuned=tuned, seed=self._bench.seed)

    def _metric(self, questions: "Questions", models: Sequence[Measured]) -> Metric:
        is_binary = all(np.isin(model.tables[questions.name][:, 0], (0, 1)).all() for model in models)
        return Metric(questions.name, ratio, higher_is_better=questions.higher_is_better, is_binary=is_binary)


def _table(scores: Sequence[float]) -> Floats:
    """Statistics whose ratio is the mean, float64 [rows, 2]."""
    return np.stack([np.asarray(scores, dtype=float), np.ones(len(scores))], axis=1)
