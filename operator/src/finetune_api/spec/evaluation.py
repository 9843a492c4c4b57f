"""`spec.evaluation` and `spec.output`: how base and tuned are compared, and where the result goes."""

from typing import Final, Literal

from pydantic import Field

from finetune_api.base import Contract, S3OutputUri

MetricName = Literal[
    "exact_match", "token_f1", "rouge_l", "chrf", "accuracy", "precision", "recall", "f1", "pair_accuracy"
]

METRICS: Final[dict[str, tuple[MetricName, ...]]] = {
    "sft": ("exact_match", "token_f1", "rouge_l", "chrf"),
    "continued-pretraining": (),
    "classification": ("accuracy", "precision", "recall", "f1"),
    "preference": ("pair_accuracy",),
    "reward": ("pair_accuracy",),
}
"""Metrics that an objective has, beside loss and perplexity."""


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


class Output(Contract):
    """Where the adapter and its reports are written."""

    uri: S3OutputUri
    """S3 prefix of this job alone. A prefix that holds another job's adapter is refused."""
