"""`spec` as a whole, and which of its sections are identity."""

import json
from typing import Annotated, Any, Final

from pydantic import ConfigDict, JsonValue, StringConstraints

from finetune_api.base import Contract, cel
from finetune_api.spec.data import Data
from finetune_api.spec.evaluation import DEFAULT_METRICS, METRICS, WITH_PERPLEXITY, Evaluation, Output
from finetune_api.spec.model import Model, Storage
from finetune_api.spec.resources import Limits, Resources, Scheduling
from finetune_api.spec.training import Checkpoint, Method, Objective, Training

IDENTITY: Final = ("model", "objective", "data", "method", "training", "evaluation", "output")
"""Sections that decide what the result is: changing one means another job, so they are immutable."""

FIXED: Final = (*IDENTITY, "storage", "checkpoint", "resources", "scheduling")
"""Sections that cannot change after creation; beyond identity, those that are baked into the child Jobs."""


RunId = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=63)]


def _immutable(section: str) -> dict[str, JsonValue]:
    remedy = (
        "create a FinetuneJob with another name and output to change it"
        if section in IDENTITY
        else "to change it, delete the FinetuneJob and create it again; with the same output it goes on"
    )
    return cel(f"self.{section} == oldSelf.{section}", f"spec.{section} is immutable: {remedy}")


_METRICS_FIT: Final = cel(
    # A JSON object of lists of strings is a CEL literal too.
    f"self.evaluation.metrics.all(metric, metric in {json.dumps(METRICS)}[self.objective.type])",
    "evaluation.metrics holds one that objective.type does not have; kubectl explain ftj.spec.evaluation lists them",
)
_GATES_FIT: Final = cel(
    "self.evaluation.gates.all(gate, gate.metric == 'loss' || gate.metric in self.evaluation.metrics"
    f" || (gate.metric == 'perplexity' && self.objective.type in {json.dumps(WITH_PERPLEXITY)})"
    " || (self.evaluation.metrics.size() == 0"
    f" && gate.metric in {json.dumps(DEFAULT_METRICS)}[self.objective.type])"
    " || self.evaluation.benchmarks.exists(benchmark, benchmark.task == gate.metric))",
    "evaluation.gates has one on something that the job does not measure: name a metric of evaluation.metrics, loss, "
    "perplexity of a language model, or the task of a benchmark",
)
_VALIDATION_METRIC_FITS: Final = cel(
    "self.training.validation.metric == 'loss' || "
    f"self.training.validation.metric in {json.dumps(METRICS)}[self.objective.type]",
    "training.validation.metric is none of objective.type's; kubectl explain ftj.spec.evaluation lists them",
)
_QLORA_NEEDS_A_GPU: Final = cel(
    "self.method.type != 'qlora' || self.resources.gpus.count > 0",
    "method.type qlora needs a GPU: set resources.gpus.count to 1, or take method.type lora",
)
_QLORA_IS_NOT_SHARDED: Final = cel(
    "self.method.type != 'qlora' || self.resources.parallelism != 'fsdp'",
    "resources.parallelism fsdp cannot divide the 4-bit weights of method.type qlora: take ddp, or method.type lora",
)
_MERGED_NEEDS_AN_ADAPTER: Final = cel(
    "!has(self.output.merged) || !self.output.merged || !(self.method.type in ['full', 'last-layers'])",
    "output.merged needs a method that trains an adapter: full and last-layers write a whole model anyway",
)

_BENCHMARKS_NEED_A_LANGUAGE_MODEL: Final = cel(
    "size(self.evaluation.benchmarks) == 0 || (self.objective.type != 'reward' && "
    "(!has(self.objective.classification) || self.objective.classification.variant == 'generative'))",
    "evaluation.benchmarks are asked of a model that writes: not of objective.type reward, nor of classification with "
    "variant head",
)


def _add_rules(schema: dict[str, Any]) -> None:
    schema["x-kubernetes-validations"] = [
        *(_immutable(section) for section in FIXED),
        _METRICS_FIT,
        _GATES_FIT,
        _VALIDATION_METRIC_FITS,
        _BENCHMARKS_NEED_A_LANGUAGE_MODEL,
        _QLORA_NEEDS_A_GPU,
        _QLORA_IS_NOT_SHARDED,
        _MERGED_NEEDS_AN_ADAPTER,
    ]


class FinetuneJobSpec(Contract):
    """The wanted fine-tune."""

    model_config = ConfigDict(json_schema_extra=_add_rules)

    model: Model
    """The base model."""
    objective: Objective = Objective()
    """What the model learns to do."""
    data: Data
    """What the model is tuned and measured on."""
    method: Method = Method()
    """Which weights change."""
    training: Training = Training()
    """Hyper-parameters."""
    evaluation: Evaluation = Evaluation()
    """How base and tuned model are compared."""
    output: Output
    """Where the adapter and its reports go."""
    checkpoint: Checkpoint = Checkpoint()
    """Saved states that a preempted job goes on from."""
    storage: Storage = Storage()
    """How S3 is reached."""
    resources: Resources = Resources()
    """What the training pod gets."""
    scheduling: Scheduling = Scheduling()
    """Where the training pod may run."""
    limits: Limits = Limits()
    """Bounds of the job's life."""
    run_id: RunId | None = None
    """Names a run. Another name runs the job again, a finished one too; nothing else does. The former result stays, and
    the new one goes to `reruns/<runId>/` under output.uri. A run that is under way is stopped."""
    suspend: bool = False
    """Stop the job and release its resources; false goes on from the last checkpoint."""
