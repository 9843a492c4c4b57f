"""`spec.evaluation` and `spec.output`: how base and tuned are compared, and where the result goes."""

from typing import Literal

from pydantic import Field

from finetune_api.base import Contract, S3OutputUri

MetricName = Literal["exact_match", "token_f1", "rouge_l", "chrf"]


class Evaluation(Contract):
    """Base and tuned model answer the same test prompts with the same greedy decoding."""

    metrics: list[MetricName] = Field(default=["exact_match", "token_f1", "rouge_l"], min_length=1, max_length=8)
    """Scores of generated answers, the most important first; loss and perplexity of the reference answers are always
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
