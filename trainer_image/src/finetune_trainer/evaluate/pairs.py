"""`preference` and `reward`: which of two answers each model takes for the better one.

A *language model* takes the answer whose tokens are the likelier on average (as Meng et al. 2024, arXiv:2405.14734,
section 2.2, rank answers): a sum falls with every token, so that the shorter answer would nearly always win, whatever
it says. A *reward model* takes the one with the higher score. Two equal scores are a wrong decision.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np

from finetune_api.report import EvaluationResult, RivalName
from finetune_trainer.data.encode import Tokenized
from finetune_trainer.data.item import Item
from finetune_trainer.evaluate.batches import Recording
from finetune_trainer.evaluate.compare import Example, ExampleResult, Measured, compare
from finetune_trainer.evaluate.examiner import Bench
from finetune_trainer.evaluate.metrics import LOSS, Floats, Metric, counted, ratio
from finetune_trainer.evaluate.score import in_batches, score
from finetune_trainer.objectives.pooled import last_scores

PAIR_ACCURACY: Final = Metric("pair_accuracy", ratio, is_binary=True)
_MARGIN: Final = "margin"
"""Table [pairs, 1]: summed log-probability of the preferred answer less that of the other."""


class PairExaminer(ABC):
    """Pair accuracy, then the loss that is learnt from."""

    def __init__(self, bench: Bench, items: Sequence[Item], datasets: Sequence[str]) -> None:
        """`datasets` names the data set of each item."""
        self._bench, self._items, self._datasets = bench, items, datasets

    @property
    def longest(self) -> int:
        """Tokens of the longest prompt with an answer."""
        return max(len(sequence.token_ids) for item in self._items for sequence in item.sequences)

    def base(self, model: Any) -> Measured:
        """The untouched base model, by log-likelihood."""
        return self._by_likelihood(model, self._bench.of_base)

    def rivals(self, model: Any) -> dict[RivalName, Measured]:  # noqa: ARG002
        """None: the base is not asked, so there is no prompt to put examples in."""
        return {}

    @abstractmethod
    def tuned(self, model: Any, subject: str | None = None) -> Measured:
        """The model with its adapter."""

    def compare(
        self, *, baseline: Measured, rivals: Mapping[RivalName, Measured], tuned: Measured
    ) -> tuple[EvaluationResult, list[ExampleResult]]:
        """Pair accuracy and loss."""
        examples = [self._example(item, dataset) for item, dataset in zip(self._items, self._datasets, strict=True)]
        return compare(
            examples, [PAIR_ACCURACY, LOSS], baseline=baseline, rivals=rivals, tuned=tuned, seed=self._bench.seed
        )

    def _by_likelihood(self, model: Any, recording: Recording) -> Measured:
        losses = score(model, self._sequences, self._bench.batch_tokens, self._bench.watch.batch, recording)
        sums = -np.array([loss.total for loss in losses]).reshape(-1, 2)
        tokens = np.array([loss.tokens for loss in losses]).reshape(-1, 2)
        return _measured(sums / tokens, {_MARGIN: sums[:, :1] - sums[:, 1:]})

    @property
    def _sequences(self) -> list[Tokenized]:
        return [sequence for item in self._items for sequence in item.sequences]

    def _example(self, item: Item, dataset: str) -> Example:
        chosen = item.sequences[0]
        start = next((index for index, weight in enumerate(chosen.weights) if weight > 0), 0)
        decode = self._bench.tokenizer.decode
        prompt, answer = chosen.token_ids[:start], chosen.token_ids[start:]
        reference = str(decode(answer, skip_special_tokens=True))
        return Example(str(item.source), str(decode(prompt)), reference, dataset, start)


class PreferenceExaminer(PairExaminer):
    """Both models by log-likelihood; DPO's loss of each against the model that training started from."""

    def __init__(self, bench: Bench, items: Sequence[Item], datasets: Sequence[str], beta: float) -> None:
        super().__init__(bench, items, datasets)
        self._beta = beta

    def tuned(self, model: Any, subject: str | None = None) -> Measured:
        """The model with its adapter, by log-likelihood."""
        return self._by_likelihood(model, self._bench.recording(subject))

    def compare(
        self, *, baseline: Measured, rivals: Mapping[RivalName, Measured], tuned: Measured
    ) -> tuple[EvaluationResult, list[ExampleResult]]:
        """Pair accuracy and loss."""
        reference = rivals.get("parent", baseline).tables[_MARGIN]

        def with_loss(measured: Measured) -> Measured:
            losses = _logistic(self._beta * (measured.tables[_MARGIN] - reference)[:, 0])
            return replace(measured, tables={**measured.tables, LOSS.name: losses})

        return super().compare(
            baseline=with_loss(baseline),
            rivals={name: with_loss(rival) for name, rival in rivals.items()},
            tuned=with_loss(tuned),
        )


class RewardExaminer(PairExaminer):
    """The tuned model by its head. The base's loss takes its mean log-likelihood for the score."""

    def tuned(self, model: Any, subject: str | None = None) -> Measured:
        """The model with its adapter and head."""
        scores = in_batches(
            model,
            self._sequences,
            self._bench.batch_tokens,
            lambda rows: last_scores(model, rows, packing=False),
            self._bench.watch.batch,
            recording=self._bench.recording(subject),
        )
        return _measured(scores.double().numpy().reshape(-1, 2), {})


def _measured(scores: Floats, more: dict[str, Floats]) -> Measured:
    """From the scores [pairs, 2] of the preferred answers and the others."""
    right = scores[:, 0] > scores[:, 1]
    tables = {
        PAIR_ACCURACY.name: np.stack([right, np.ones_like(right)], axis=1).astype(float),
        LOSS.name: _logistic(scores[:, 0] - scores[:, 1]),
    }
    return Measured(["chosen" if each else "rejected" for each in right], tables | more)


def _logistic(margins: Floats) -> Floats:
    """Statistics of the loss -log sigmoid(margin), float64 [pairs, 2]."""
    return counted(np.stack([np.logaddexp(0, -margins), np.ones_like(margins)], axis=1))
