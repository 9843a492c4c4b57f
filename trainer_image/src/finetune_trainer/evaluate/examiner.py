"""How an objective's models are measured and compared."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from finetune_api.report import EvaluationResult, RivalName
from finetune_api.spec.evaluation import Evaluation, MetricName
from finetune_trainer.evaluate.batches import BASE, Keeper, Recording
from finetune_trainer.evaluate.compare import ExampleResult, Measured
from finetune_trainer.evaluate.watch import Watch
from finetune_trainer.ranks import ALONE, Ranks


@dataclass(frozen=True, slots=True)
class Bench:
    """What every measurement works with."""

    evaluation: Evaluation
    metrics: tuple[MetricName, ...]
    """Scores to measure, the most important first."""
    tokenizer: Any
    batch_tokens: int
    """Padded tokens that go through the model at once."""
    seed: int
    """Of the bootstrap."""
    watch: Watch
    keeper: Keeper | None = None
    """Where results are kept, for an attempt that goes on."""
    ranks: Ranks = ALONE
    """The processes that measure together."""

    @property
    def of_base(self) -> Recording:
        """How results of the untouched base model are kept."""
        return self.recording(BASE)

    def recording(self, subject: str | None) -> Recording:
        """How results of a model are kept; not at all where it has no fingerprint."""
        return Recording(self.keeper, subject, self.ranks)


class Examiner(Protocol):
    """Measures models on the test rows. Stop requests are heeded between two batches (StopRequested)."""

    @property
    def longest(self) -> int:
        """Tokens of the longest sequence that a model will see."""

    def base(self, model: Any) -> Measured:
        """The untouched base model, a causal language model."""

    def rivals(self, model: Any) -> dict[RivalName, Measured]:
        """What else the base, or no model at all, achieves on the same rows."""

    def tuned(self, model: Any, subject: str | None = None) -> Measured:
        """The model with its adapter and head; `subject` is its fingerprint, by which results are found again."""

    def compare(
        self, *, baseline: Measured, rivals: Mapping[RivalName, Measured], tuned: Measured
    ) -> tuple[EvaluationResult, list[ExampleResult]]:
        """The numbers of the report, and every row."""
