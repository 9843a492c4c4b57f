"""What the result's page and the model card are made from, parsed and complete; nothing here reads or asks."""

from collections.abc import Sequence
from dataclasses import dataclass

from finetune_api.report import TrainerReport
from finetune_api.request import TrainerRequest
from finetune_trainer.evaluate.compare import ExampleResult
from finetune_trainer.metrics_file import StepRecord


@dataclass(frozen=True, slots=True)
class Attempt:
    """One start of the trainer."""

    number: int
    started_at: str
    """RFC 3339 timestamp."""
    pod: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """One run, from whose end people look at it."""

    request: TrainerRequest
    report: TrainerReport
    steps: Sequence[StepRecord] = ()
    examples: Sequence[ExampleResult] = ()
    attempts: Sequence[Attempt] = ()
    made_at: str
    """RFC 3339 timestamp."""
    base_license: str = "unknown"
    """Of the base model, by the Hub's identifier, as its own card says."""

    @property
    def job(self) -> str:
        """`namespace/name` of the FinetuneJob."""
        return f"{self.request.namespace}/{self.request.name}"
