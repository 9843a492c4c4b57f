"""`continued-pretraining`: how well each model predicts the test text; nothing is generated.

The headline is the loss per token, not the perplexity: its differences mean the same at every level, and no single bad
document blows it up. By data set it shows what was learnt and, on replay data, what was forgotten.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from finetune_api.report import EvaluationResult, RivalName
from finetune_trainer.data.item import Item
from finetune_trainer.evaluate.batches import Recording
from finetune_trainer.evaluate.compare import Example, ExampleResult, Measured, compare
from finetune_trainer.evaluate.examiner import Bench
from finetune_trainer.evaluate.metrics import LOSS, PERPLEXITY, language_tables
from finetune_trainer.evaluate.score import score


class TextExaminer:
    """Loss and perplexity of the test items."""

    def __init__(self, bench: Bench, items: Sequence[Item], datasets: Sequence[str]) -> None:
        """`datasets` names the data set of each item."""
        self._bench, self._items, self._datasets = bench, items, datasets

    @property
    def longest(self) -> int:
        """Tokens of the longest item."""
        return max(item.length for item in self._items)

    def base(self, model: Any) -> Measured:
        """The untouched base model."""
        return self._measure(model, self._bench.of_base)

    def rivals(self, model: Any) -> dict[RivalName, Measured]:  # noqa: ARG002
        """None: text comes without a task that examples could show."""
        return {}

    def tuned(self, model: Any, subject: str | None = None) -> Measured:
        """The model with its adapter."""
        return self._measure(model, self._bench.recording(subject))

    def compare(
        self, *, baseline: Measured, rivals: Mapping[RivalName, Measured], tuned: Measured
    ) -> tuple[EvaluationResult, list[ExampleResult]]:
        """Loss, then perplexity."""
        decode = self._bench.tokenizer.decode
        examples = [
            Example(str(item.source), str(decode(item.sequences[0].token_ids)), "", dataset, item.length)
            for item, dataset in zip(self._items, self._datasets, strict=True)
        ]
        return compare(
            examples, [LOSS, PERPLEXITY], baseline=baseline, rivals=rivals, tuned=tuned, seed=self._bench.seed
        )

    def _measure(self, model: Any, recording: Recording) -> Measured:
        sequences = [item.sequences[0] for item in self._items]
        losses = score(model, sequences, self._bench.batch_tokens, self._bench.watch.batch, recording)
        return Measured([""] * len(sequences), language_tables(losses))
