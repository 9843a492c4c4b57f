"""What the trainer tells at its end: one schema for the termination message and for `report.json`."""

from typing import Literal

from pydantic import Field

from finetune_api.base import Message
from finetune_api.conditions import Reason
from finetune_api.exit_codes import FailureClass
from finetune_api.names import Kind


class Failure(Message):
    """Why a run ended without a result."""

    failure_class: FailureClass = Field(alias="class")
    reason: Reason
    message: str
    """What happened, naming the file, line or field."""
    advice: str
    """What to do about it."""
    retryable: bool


class DataSummary(Message):
    """What preflight found in the data."""

    digest: str
    """SHA-256 over the files of every data set in order, `sha256:<hex>`."""
    train_rows: int
    validation_rows: int
    test_rows: int
    train_tokens: int
    """Tokens of all training rows, template included."""
    supervised_tokens: int
    """Those of them that the loss is on."""
    longest_row: int
    """Tokens of the longest row, before any cut."""
    truncated_rows: int
    """Training rows whose prompt lost its start to data.maxTokens."""
    left_out_rows: int = 0
    """Rows of listed data sets that are not learnt from because they are test or validation rows too."""
    bad_rows: int = 0
    """Rows that cannot be used; they were put into quarantine."""
    duplicate_rows: int = 0
    """Training rows that stand more than once; each counts but the first."""
    report_uri: str | None = None
    """The data report, `data_report.html`."""


class PreparedData(Message):
    """What preflight has made ready for training."""

    uri: str
    """`prepared.json`: the resolved settings, and where the token ids lie."""
    digest: str
    """`sha256:<hex>` of that document; training refuses another one."""


class ResolvedSetting(Message):
    """A setting that the spec left open, resolved once."""

    name: str
    """As in the spec, `training.learningRate`."""
    value: str
    why: str


class Estimate(Message):
    """What training will take, computed before a GPU is asked for."""

    memory_bytes: int
    """Of one GPU at the worst micro-batch."""
    parts: dict[str, int]
    """The same by what takes it: weights, adapter, optimizer, activations, logits."""
    available_bytes: int | None = None
    """Memory of one GPU, where it is known."""
    steps: int
    tokens: int
    """Real tokens that training goes through."""
    checkpoint_bytes: int = 0
    """Of one checkpoint: what is trained, and the optimiser's moments."""


RivalName = Literal["few_shot", "majority", "parent"]
"""few_shot: the base with worked examples in its prompt. majority: the most frequent label of the training rows.
parent: the adapter that training started from."""


Verdict = Literal["better", "worse", "inconclusive"]


def verdict(low: float, high: float, *, higher_is_better: bool) -> Verdict:
    """What an interval of a difference says: better or worse only where it excludes zero."""
    if low <= 0 <= high:
        return "inconclusive"
    return "better" if (low > 0) == higher_is_better else "worse"


class RivalResult(Message):
    """One metric of another model that the tuned one has to beat."""

    name: RivalName
    score: float
    low: float
    """Lower end of the 95 % interval of tuned - rival."""
    high: float
    """Upper end of the same interval."""


class SliceResult(Message):
    """A metric on a part of the test rows."""

    name: str
    """Of `slices` the data set's name; of `worst_slices` what the rows have in common."""
    rows: int
    baseline: float
    tuned: float


class MetricResult(Message):
    """One metric on the test rows: base, its rivals, tuned."""

    name: str
    higher_is_better: bool
    baseline: float
    rivals: list[RivalResult] = Field(default=[])
    tuned: float
    low: float
    """Lower end of the 95 % interval of tuned - baseline."""
    high: float
    """Upper end of the same interval."""
    interval: str
    """How the interval was computed: tango (paired score), bootstrap (over rows)."""
    tuned_low: float | None = None
    """Lower end of the 95 % interval of the tuned model's own score."""
    tuned_high: float | None = None
    """Upper end of the same interval."""

    @property
    def delta(self) -> float:
        """Tuned minus baseline."""
        return self.tuned - self.baseline

    @property
    def verdict(self) -> Verdict:
        """The tuned model against the base."""
        return verdict(self.low, self.high, higher_is_better=self.higher_is_better)


class GateResult(Message):
    """Whether a gate held."""

    metric: str
    wanted: str
    """`tuned - baseline >= 0.05 at the lower end of the interval`."""
    actual: float
    """What was compared."""
    passed: bool


class Changes(Message):
    """What tuning did to the test rows, by the headline metric."""

    fixed: int
    """Rows that the tuned model does better than the base."""
    broken: int
    """Rows that it does worse."""
    unchanged: int


class EvaluationResult(Message):
    """Base against tuned."""

    rows: int
    metrics: list[MetricResult]
    """The headline first."""
    slices: list[SliceResult] = Field(default=[])
    """The headline by data set, where there are several."""
    labels: list[str] = Field(default=[])
    """Of a classifier, in the order of the spec."""
    confusion: list[list[int]] = Field(default=[])
    """Rows by wanted label, columns by the tuned model's; the last column counts answers that are no label."""
    benchmarks: list[MetricResult] = Field(default=[])
    """Public tasks, named after the task."""
    gates: list[GateResult] = Field(default=[])
    """In the order of the spec."""
    changes: Changes | None = None
    error_classes: dict[str, int] = Field(default={})
    """The tuned model's failures by class; a row may be in several."""
    worst_slices: list[SliceResult] = Field(default=[])
    """Parts that the tuned model is worse at than at all rows, the worst first: `dataset: <name>`, `label: <label>`,
    `prompt: <n> to <m> tokens`. Scored by the headline, or by accuracy where that says nothing of a single label."""


class TrainingSummary(Message):
    """The training loop in numbers."""

    steps: int
    tokens: int
    """Real tokens learnt from, padding not counted, over all attempts."""
    weight: float = 0.0
    """Summed weight of what was learnt from: supervised tokens, rows or pairs."""
    final_loss: float
    validation_loss: float | None = None
    tokens_per_second: float
    """Of this attempt, as what follows."""
    supervised_tokens_per_second: float | None = None
    """Those that the loss is on; of objectives that judge rows or pairs, these."""
    step_seconds: float = 0.0
    """Time spent in optimiser steps."""
    mfu: float | None = None
    """What the tokens need over what the GPUs are rated at; None where that is not known."""
    input_stall: float | None = None
    """Share of that time that making batches took."""
    peak_memory_bytes: int | None = None
    """The most that the first process's GPU has held for tensors since training began; without a GPU, that the process
    has held."""
    predicted_memory_bytes: int | None = None
    """What its largest micro-batch said of that before the first step; None without a GPU."""
    start_seconds: dict[str, float] = Field(default={})
    """Time from the process's start until the losses of its first steps were read, by phase (`start_up.Phase`)."""
    execution: str = ""
    """How steps were computed: micro-batch, packing, compiling, recomputation, and the memory predicted of it."""
    execution_changes: str = ""
    """How this attempt computed steps otherwise than the one that it went on from: `worldSize was 1 and is 2`."""
    resumed_from_step: int | None = None
    kept_step: int | None = None
    """The step whose state is the artifact, where the best is kept."""
    stopped_early: str | None = None
    """Why training ended before its last step."""
    rollbacks: int = 0
    """Times that training went back to a checkpoint because it diverged."""


class Servable(Message):
    """Whether a server takes the artifact."""

    vllm: bool
    why: str
    """What it takes, or what stands against it."""
    tried: bool = False
    """The server itself was asked; otherwise its documented rules were read."""


class MergedModel(Message):
    """The whole model with the adapter merged in."""

    uri: str
    digest: str
    """SHA-256 over its files' digests."""
    size_bytes: int
    loss_difference: float
    """Absolute difference between its score in memory and read back."""
    distance: float
    """Absolute difference between its score and that of base and adapter apart: what rounding, and with qlora the
    unquantised base, change."""


class Artifact(Message):
    """The committed adapter or model."""

    kind: Literal["adapter", "model"] = "adapter"
    """adapter: in PEFT's layout. model: a whole model directory."""
    uri: str
    digest: str
    """SHA-256 over the manifest's file digests."""
    size_bytes: int
    verified: bool
    """Read back from S3 in a clean process and scored."""
    loss_difference: float
    """Absolute difference between the score in memory and read back."""
    servable: Servable | None = None
    merged: MergedModel | None = None
    promoted_uri: str | None = None
    """The `promoted.json` that names this artifact; None where the gates kept it out."""


class SavedCheckpoint(Message):
    """The newest committed checkpoint."""

    step: int
    uri: str
    saved_at: str
    size_bytes: int = 0


class CleanupSummary(Message):
    """What a clean-up did."""

    removed: int
    """Objects."""
    left: list[str]
    """What stays and why, the first few."""


class TrainerReport(Message):
    """How a run of the trainer ended."""

    schema_version: Literal["1"] = "1"
    kind: Kind
    outcome: Literal["succeeded", "failed", "preempted"]
    spec_digest: str
    """Digest of the identity settings that this run worked on."""
    report_uri: str | None = None
    """The full report in S3, `report.json`."""
    page_uri: str | None = None
    """The same for people, `report.html`."""
    epoch: int | None = None
    """The attempt's fencing number, claimed in S3 at its start."""
    adopted: bool = False
    """The output already held this job's result; nothing was trained."""
    failure: Failure | None = None
    data: DataSummary | None = None
    prepared: PreparedData | None = None
    settings: list[ResolvedSetting] = Field(default=[])
    """What the spec left open."""
    estimate: Estimate | None = None
    training: TrainingSummary | None = None
    evaluation: EvaluationResult | None = None
    artifact: Artifact | None = None
    checkpoint: SavedCheckpoint | None = None
    cleanup: CleanupSummary | None = None
    libraries: dict[str, str] = Field(default={})
    """Versions of the libraries that decide numbers."""
    lineage: dict[str, str] = Field(default={})
    """What the result was made from: base model, parent adapter, data digests, image."""
