"""`.status` of a FinetuneJob. Fractions are strings, so that every client shows them alike."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from finetune_api.base import Decimal, Message, Timestamp

Text = Annotated[str, StringConstraints(max_length=1024)]
Word = Annotated[str, StringConstraints(max_length=128)]
Note = Annotated[str, StringConstraints(max_length=256)]
Phase = Literal["Pending", "Validating", "Queued", "Starting", "Running", "Suspended", "Complete", "Failed"]


class Condition(Message):
    """One aspect of the state, in the shape of metav1.Condition."""

    type: Word
    """Name of the aspect."""
    status: Literal["True", "False", "Unknown"]
    """Whether it holds."""
    reason: Word
    """Why, in one word for machines."""
    message: Text
    """Why, in a sentence for people."""
    last_transition_time: Timestamp
    """When status last changed."""
    observed_generation: int
    """The spec's generation that this was said of."""


class ProgressStatus(Message):
    """Where the trainer is; best effort, a few seconds old."""

    stage: Word
    """validating, loading, baseline, rehearsing, training, evaluating, uploading, verifying or done."""
    step: int
    """Optimiser steps done."""
    total_steps: int
    """Optimiser steps of the whole run."""
    percent: Word
    """Share of the steps done; of the data while validating."""
    rows: int | None = None
    """Rows checked so far, while validating."""
    loss: Decimal | None = None
    """Mean training loss per supervised token, lately."""
    tokens_per_second: Decimal | None = None
    """Real tokens a second, padding not counted."""
    supervised_tokens_per_second: Decimal | None = None
    """Those of them that the loss is on; of objectives that judge rows or pairs, these."""
    mfu: Decimal | None = None
    """Share of the GPUs' nominal rate that training needs at this speed, where that rate is known."""
    input_stall: Decimal | None = None
    """Share of the time in steps that making batches took."""
    peak_memory: Word | None = None
    """The most memory that the first process's GPU has held for tensors; without a GPU, that the process has held."""
    execution: Word | None = None
    """How steps are computed: micro-batch, packing, compiling, recomputation, and the memory predicted of it."""
    eta: Word | None = None
    """Time left until the end of training, an estimate."""


class DataStatus(Message):
    """What preflight found; training uses exactly this."""

    digest: Word
    """SHA-256 of the data that was validated and is trained on."""
    train_rows: int
    """Rows to train on."""
    validation_rows: int
    """Rows whose loss is followed."""
    test_rows: int
    """Rows that base and tuned are compared on."""
    train_tokens: int
    """Tokens of the training rows."""
    supervised_tokens: int
    """Those of them that the loss is on."""
    truncated_rows: int
    """Rows whose prompt lost its start to data.maxTokens."""
    left_out_rows: int = 0
    """Training rows not used because they also stand in the validation or test data."""
    bad_rows: int = 0
    """Rows put into quarantine."""
    duplicate_rows: int = 0
    """Training rows that stand more than once."""
    report_uri: Text | None = None
    """The data report, a page for a browser."""
    prepared_uri: Text | None = None
    """The resolved settings and where the token ids lie; training uses exactly this."""
    prepared_digest: Word | None = None
    """SHA-256 of that document."""


class SettingStatus(Message):
    """A setting that the spec left open, resolved once and kept for all attempts."""

    name: Word
    """As in the spec."""
    value: Word
    """What it was resolved to."""
    why: Note = ""
    """Why."""


class EstimateStatus(Message):
    """What training will take, computed before a GPU is asked for."""

    memory: Word
    """Of one GPU at the worst micro-batch as asked for; where there is less, training chooses smaller ones."""
    available: Word | None = None
    """Memory of one GPU, where it is known."""
    steps: int
    """Optimiser steps."""
    tokens: int
    """Tokens that training goes through."""
    checkpoint_bytes: int = 0
    """Bytes of one checkpoint; the pod's grace period follows from them."""


class QueueStatus(Message):
    """Kueue's side of the job."""

    name: Word
    """The LocalQueue."""
    workload: Note | None = None
    """Kueue's Workload of the Job that is queued or runs."""
    position: int | None = None
    """Place in the ClusterQueue while it waits, the next one being 1; from 20 on in tens, from 100 on in hundreds."""
    message: Note | None = None
    """What Kueue said last."""


class RivalStatus(Message):
    """One metric of another model that the tuned one has to beat."""

    name: Word
    """few_shot, majority or parent."""
    score: Decimal
    """Its score."""
    verdict: Literal["better", "worse", "inconclusive"]
    """The tuned model against it; better or worse only where the interval excludes zero."""


class MetricStatus(Message):
    """One metric, base against tuned."""

    name: Word
    """Metric name."""
    baseline: Decimal
    """Score of the untouched base model."""
    rivals: list[RivalStatus] = Field(default=[], max_length=3)
    """Base with worked examples in its prompt (few_shot), most frequent label (majority), adapter that training
    started from (parent)."""
    tuned: Decimal
    """Score of the tuned model."""
    delta: Decimal
    """Tuned minus baseline."""
    low: Decimal
    """Lower end of the delta's 95 % interval."""
    high: Decimal
    """Upper end of the delta's 95 % interval."""
    verdict: Literal["better", "worse", "inconclusive"]
    """better or worse only where the interval excludes zero."""


class SliceStatus(Message):
    """The headline metric on the rows of one data set."""

    name: Word
    """The data set."""
    rows: int
    """Its test rows."""
    baseline: Decimal
    """Score of the untouched base model."""
    tuned: Decimal
    """Score of the tuned model."""


class GateStatus(Message):
    """One gate of spec.evaluation.gates."""

    metric: Word
    """What it is about."""
    wanted: Word
    """What it asks for."""
    actual: Decimal
    """What was compared."""
    passed: bool
    """Whether it held."""


class EvaluationStatus(Message):
    """Base against tuned on the test rows."""

    summary: Word
    """The headline metric, base to tuned."""
    rows: int
    """Test rows compared."""
    metrics: list[MetricStatus] = Field(max_length=16)
    """Every metric, the headline first."""
    slices: list[SliceStatus] = Field(default=[], max_length=16)
    """The headline metric by data set, where there are several."""
    gates: list[GateStatus] = Field(default=[], max_length=16)
    """What spec.evaluation.gates asked for, and what came."""
    benchmarks: list[MetricStatus] = Field(default=[], max_length=8)
    """Public tasks, by name."""


class ArtifactStatus(Message):
    """The adapter or model."""

    kind: Literal["adapter", "model"] = "adapter"
    """adapter: in PEFT's layout. model: a whole model directory, by methods that change the base's own weights."""
    uri: Text
    """Its S3 prefix."""
    digest: Word
    """SHA-256 over its files."""
    size_bytes: int
    """Size of all its files."""
    verified: bool
    """Read back from S3 in a clean process and scored the same."""
    merged_uri: Text | None = None
    """S3 prefix of the whole model with the adapter merged in, where spec.output.merged asks for it."""
    servable: Note | None = None
    """Whether vLLM takes it, and with which options."""
    promoted_uri: Text | None = None
    """The `promoted.json` that was moved to it; empty where the gates kept it out."""


class CheckpointStatus(Message):
    """The newest saved state."""

    step: int
    """Optimiser step it was taken after."""
    uri: Text
    """S3 prefix of the saved state."""
    saved_at: Timestamp
    """When it was committed."""
    size_bytes: int = 0
    """Size of all its files."""


class RestartStatus(Message):
    """New starts of all pods of a job of several nodes."""

    counted: int = 0
    """Those that used up a retry."""
    job_uid: Word | None = None
    """The training Job that ended last; what it ended with is taken into account."""


class AttemptStatus(Message):
    """One start of the trainer; of several pods, one start of all of them."""

    pod: Word
    """Pod name; of several, the first, or the one whose end was the attempt's."""
    uid: Word
    """Pod UID; of several, the first one's."""
    node: Word | None = None
    """Node it ran on."""
    started_at: Timestamp | None = None
    """When its container started."""
    finished_at: Timestamp | None = None
    """When it ended."""
    outcome: Literal["Running", "Succeeded", "Failed", "Preempted"]
    """How it ended."""
    exit_code: int | None = None
    """The trainer's exit code."""
    reason: Word | None = None
    """Why it ended."""
    resumed_from_step: int | None = None
    """Step of the checkpoint that it went on from; empty if it began at the start."""
    step: int | None = None
    """Newest optimiser step that it told of."""
    saved_step: int | None = None
    """Step of the newest checkpoint that it saved."""
    lost_steps: int | None = None
    """Of one that ended without a result: steps that it told of and that no checkpoint holds, to be done again."""
    step_seconds: int | None = None
    """Time that it spent in optimiser steps."""
    gpu_seconds: int | None = None
    """Of one that has ended: seconds that it ran, times the GPUs that it held."""


class FailureStatus(Message):
    """Why the job failed and what to do."""

    failure_class: Word = Field(alias="class")
    """Settings, Data, Credentials, OutOfMemory, Diverged, Gates, Infrastructure, Preempted, Cluster or Limits;
    docs/failures.md tells what follows from each."""
    reason: Word
    """One word for machines."""
    message: Text
    """What happened."""
    advice: Text
    """What to do."""
    retryable: bool
    """Whether trying again unchanged could help."""
    report_uri: Text | None = None
    """Where more is told: the data report of a failed preflight, else the trainer's report."""
    exit_code: int | None = None
    """The trainer's exit code."""
    container: Word | None = None
    """Pod and container that failed, `pod/container`."""
    node: Word | None = None
    """Node it was on."""


class FinetuneJobStatus(Message):
    """What is known of the job; written by the operator alone."""

    observed_generation: int = 0
    """Generation of the spec that this status speaks of."""
    phase: Phase = "Pending"
    """One word for people, derived from the conditions."""
    message: Text = ""
    """What is happening, in a sentence."""
    conditions: Annotated[list[Condition], Field(max_length=16)] = Field(
        default=[],
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    )
    """Aspects of the state, for machines."""
    run_id: Word | None = None
    """The spec.runId that this status speaks of."""
    spec_digest: Word | None = None
    """Digest of the settings that decide the result."""
    image: Text | None = None
    """Trainer image that this job uses in all its attempts, by digest once its first pod tells it."""
    progress: ProgressStatus | None = None
    """Where the trainer is."""
    data: DataStatus | None = None
    """What preflight found."""
    settings: list[SettingStatus] = Field(default=[], max_length=16)
    """Settings that the spec left open."""
    estimate: EstimateStatus | None = None
    """What training will take."""
    evaluation: EvaluationStatus | None = None
    """Base against tuned."""
    artifact: ArtifactStatus | None = None
    """The adapter."""
    report_uri: Text | None = None
    """The report in S3, a page for people; `report.json` lies beside it."""
    checkpoint: CheckpointStatus | None = None
    """The newest saved state."""
    attempts: list[AttemptStatus] = Field(default=[], max_length=20)
    """The newest starts of the trainer, oldest first."""
    failed_attempts: int = 0
    """Attempts that failed, of all child Jobs; preempted ones are not counted."""
    avoided_nodes: list[Word] = Field(default=[], max_length=8)
    """Nodes on which attempts failed repeatedly by a fault that the machine may have; later ones start elsewhere."""
    lost_reports: int = 0
    """Times a finished Job had to be run again because its report could not be read; it re-reports, not re-trains."""
    queue: QueueStatus | None = None
    """Kueue's side of a job that is queued."""
    restarts: RestartStatus | None = None
    """Of a job of several nodes whose pods were started anew, together."""
    failure: FailureStatus | None = None
    """Why the job failed and what to do."""
    started_at: Timestamp | None = None
    """When the first trainer pod started."""
    finished_at: Timestamp | None = None
    """When the job completed or failed."""
    run_seconds: int = 0
    """Seconds that ended attempts have run in all; suspension and preemption do not set it back."""
    gpu_seconds: int = 0
    """Seconds that requested GPUs were held, over all attempts."""
    useful_gpu_seconds: int = 0
    """Those of them in which optimiser steps ran that did not have to be done again."""
