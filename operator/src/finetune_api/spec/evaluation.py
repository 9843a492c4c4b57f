"""`spec.evaluation` and `spec.output`: how base and tuned are compared, and where the result goes."""

from typing import Annotated, Final, Literal

from pydantic import Field, StringConstraints

from finetune_api.base import Contract, S3OutputUri, S3Uri

MetricName = Literal[
    "exact_match", "token_f1", "rouge_l", "chrf", "accuracy", "precision", "recall", "f1", "pair_accuracy"
]
ValidationMetric = Literal["loss", MetricName]

METRICS: Final[dict[str, tuple[MetricName, ...]]] = {
    "sft": ("exact_match", "token_f1", "rouge_l", "chrf"),
    "continued-pretraining": (),
    "classification": ("accuracy", "f1", "precision", "recall"),
    "preference": ("pair_accuracy",),
    "reward": ("pair_accuracy",),
}
"""Metrics that an objective has, beside loss and perplexity, in the order that is used where the spec names none."""
DEFAULT_METRICS: Final = {
    objective: tuple(metric for metric in metrics if metric != "chrf") for objective, metrics in METRICS.items()
}
"""Those that are measured where evaluation.metrics is empty."""
WITH_PERPLEXITY: Final = ("sft", "continued-pretraining")
"""Objectives of language models."""


ResultName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_.-]*$", max_length=64)]
"""A metric, loss, perplexity, or a benchmark by the name of its task."""


class Benchmark(Contract):
    """A public task of lm-eval that base and tuned model are both scored on."""

    task: ResultName
    """Name of the task, such as arc_easy; docs/benchmarks.md lists those that are known."""
    uri: S3Uri
    """Prefix that holds the task's data files: lm-eval ships tasks, not data, and a training pod reaches no hub."""
    few_shot: int = Field(default=0, ge=0, le=32)
    """Worked examples in each prompt."""
    max_rows: int | None = Field(default=None, ge=1, le=100000)
    """At most this many questions, the first ones. Empty: all."""


class Gate(Contract):
    """What a result must reach before the artifact is promoted."""

    metric: ResultName
    """A metric of evaluation.metrics, loss, perplexity, or the task of a benchmark."""
    op: Literal[">=", ">", "<=", "<"] = ">="
    """The result on the left, `value` on the right."""
    value: float = Field(ge=-1e9, le=1e9)
    """What the result is compared with."""
    relative_to: Literal["absolute", "baseline"] = "absolute"
    """absolute: the result is the tuned model's score. baseline: it is that score less the base's."""
    use: Literal["point", "bound"] = "point"
    """point: the measured value. bound: the less favourable end of its 95 % interval, so that chance does not pass the
    gate."""


class Evaluation(Contract):
    """Base and tuned model are compared on the same test rows; answers are decoded greedily."""

    metrics: list[MetricName] = Field(default=[], max_length=8)
    """Scores, the most important first. sft: exact_match, token_f1, rouge_l, chrf of generated answers.
    classification: accuracy, and precision, recall and f1 as unweighted means over the labels. preference and reward:
    pair_accuracy. Empty: all of the objective's but chrf. Loss, and perplexity of language models, are always
    measured."""
    max_rows: int = Field(default=500, ge=1, le=100000)
    """At most this many test rows, chosen by hash."""
    max_new_tokens: int = Field(default=256, ge=1, le=8192)
    """Longest generated answer."""
    few_shot: int = Field(default=2, ge=0, le=16)
    """The base is also scored with this many worked examples in its prompt: the honest rival of a tuned model.
    0 leaves it out."""
    batch_size: int = Field(default=16, ge=1, le=1024)
    """Prompts generated at once; affects memory and speed only."""
    benchmarks: list[Benchmark] = Field(
        default=[],
        max_length=8,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["task"]},
    )
    """Public tasks besides the test rows, to see what was gained or forgotten elsewhere."""
    gates: list[Gate] = Field(default=[], max_length=16)
    """All must hold, or the artifact is not promoted."""
    on_gate_failure: Literal["withhold", "promote", "fail"] = "withhold"
    """withhold: the job completes with GatePassed=False, and `promoted.json` is not moved. promote: it is moved all the
    same. fail: the job fails."""


class Output(Contract):
    """Where the adapter and its reports are written."""

    uri: S3OutputUri
    """S3 prefix of this job alone. A prefix that holds another job's adapter is refused."""
    promote_uri: S3OutputUri | None = None
    """Prefix of `promoted.json`, which names the artifact to serve and moves only past the gates. Jobs that improve one
    model share it. Empty: under uri."""
    on_delete: Literal["keep", "delete"] = "keep"
    """What becomes of the output when the FinetuneJob is deleted. keep: it stays. delete: a Job with the job's own
    identity removes what the job has written, reports, checkpoints and all its runs included; the deletion waits for
    that, a quarter of an hour at most. What another `promoted.json` names stays."""
    merged: bool = False
    """Write, besides the adapter, the whole model with the adapter merged in, which servers without adapters load."""
