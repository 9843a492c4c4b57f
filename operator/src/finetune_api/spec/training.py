"""`spec.objective`, `spec.method`, `spec.training` and `spec.checkpoint`: what is learnt, and how."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, StringConstraints

from finetune_api.base import Contract, S3OutputUri, cel
from finetune_api.spec.evaluation import ValidationMetric

Label = Annotated[str, StringConstraints(pattern=r"^\S(.*\S)?$", max_length=128)]
"""Without blanks at its ends: a difference that nobody sees must not tell two labels apart."""


class Classification(Contract):
    """Settings of a classifier."""

    labels: list[Label] = Field(
        min_length=2,
        max_length=1000,
        json_schema_extra={
            # A set cannot hold a label twice; but CEL compares sets without their order, which numbers the classes.
            "x-kubernetes-list-type": "set",
            "x-kubernetes-validations": [
                cel(
                    "self.map(label, label) == oldSelf.map(label, label)",
                    "the order of objective.classification.labels is immutable",
                )
            ],
        },
    )
    """Every label. A row with another one is a bad row: a typing mistake must not become a class of its own."""
    variant: Literal["head", "generative"] = "head"
    """head: a new linear layer on the last token's state. generative: the model writes the label; the likeliest of the
    labels counts."""


class Preference(Contract):
    """Settings of preference tuning."""

    beta: float = Field(default=0.1, gt=0, le=10)
    """How far the model may move from where it starts; smaller moves further."""


class Objective(Contract):
    """What the model learns to do."""

    model_config = ConfigDict(
        json_schema_extra={
            "x-kubernetes-validations": [
                cel(
                    "(has(self.type) && self.type == 'classification') == has(self.classification)",
                    "objective.type classification and objective.classification (its labels) go together",
                )
            ]
        }
    )

    type: Literal["sft", "continued-pretraining", "classification", "preference", "reward"] = "sft"
    """sft: instructions, chats or prompt-completion pairs, the loss on the answers. continued-pretraining: raw text
    (domain adaptation). classification: a label for a text. preference: the better of two answers (DPO, Rafailov et
    al. 2023, arXiv:2305.18290). reward: a score whose difference predicts the better of two answers."""
    classification: Classification | None = None
    """Labels, for classification."""
    preference: Preference = Preference()
    """Used by preference."""


class Lora(Contract):
    """Settings of low-rank adapters (Hu et al. 2021, arXiv:2106.09685)."""

    rank: int | None = Field(default=None, ge=1, le=512)
    """Rank of the update. Empty: by the number of training tokens."""
    alpha: int | None = Field(default=None, ge=1, le=2048)
    """Scale of the update: alpha / rank; alpha / sqrt(rank) with rslora. Empty: twice the rank."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout on the adapter's input."""
    target_modules: list[str] = Field(
        default=["all-linear"],
        min_length=1,
        max_length=32,
        json_schema_extra={
            "items": {"type": "string", "minLength": 1, "maxLength": 128, "pattern": "^[A-Za-z0-9_.-]+$"}
        },
    )
    """Names of the modules that get an adapter, or all-linear for every linear layer but the head."""


class LastLayers(Contract):
    """Settings of frozen-backbone tuning."""

    count: int = Field(default=2, ge=1, le=1000)
    """How many of the last layers are trained, with the final norm. The head and the embeddings stay frozen."""


class Method(Contract):
    """Which weights change."""

    type: Literal["lora", "dora", "rslora", "qlora", "full", "last-layers"] = "lora"
    """lora: the base stays frozen, small adapters are trained. dora: adapters with learnt magnitudes (Liu et al. 2024,
    arXiv:2402.09353). rslora: adapters scaled by the root of their rank (Kalajdzievski 2023, arXiv:2312.03732). qlora:
    adapters on a base in 4 bit (Dettmers et al. 2023, arXiv:2305.14314); needs a GPU. full: every weight. last-layers:
    the last layers only. full and last-layers write a whole model instead of an adapter."""
    lora: Lora = Lora()
    """Settings of adapters."""
    last_layers: LastLayers = LastLayers()
    """Settings of last-layers."""


class Validation(Contract):
    """How training is followed on the validation rows."""

    metric: ValidationMetric = "loss"
    """What is measured there: loss, or a metric that the objective has."""
    times: int = Field(default=4, ge=1, le=1000)
    """How often, evenly spread over the run, its end included."""
    keep: Literal["last", "best"] = "last"
    """Which state becomes the artifact: the last, or the one with the best validation metric."""
    patience: int | None = Field(default=None, ge=1, le=1000)
    """Stop early after so many measurements in a row without a better one. Empty: train to the end."""


class Guards(Contract):
    """What is done about a run that goes wrong."""

    on_divergence: Literal["fail", "rollback"] = "fail"
    """Where the loss is not finite, or stays above divergenceFactor times its lowest. fail: the job ends. rollback:
    training goes back to the last checkpoint and leaves out the steps since, at most three times."""
    divergence_factor: float = Field(default=4.0, gt=1, le=1000)
    """The smoothed training loss may rise to so many times its lowest."""
    stall_minutes: float = Field(default=30.0, ge=0.1, le=1440)
    """End the attempt when nothing moves for so long; the next one goes on from the last checkpoint."""


class Training(Contract):
    """Hyper-parameters of the training loop."""

    model_config = ConfigDict(
        json_schema_extra={
            "x-kubernetes-validations": [
                cel(
                    "!has(self.microBatchTokens) || !has(self.tokensPerStep) || "
                    "self.microBatchTokens <= self.tokensPerStep",
                    "training.microBatchTokens must not exceed training.tokensPerStep",
                )
            ]
        }
    )

    epochs: float | None = Field(default=None, gt=0, le=1000)
    """Passes over the training rows. Empty: 1 to 3, fewer for more data."""
    max_steps: int | None = Field(default=None, ge=1, le=10000000)
    """Stop after this many optimiser steps even if epochs are left."""
    tokens_per_step: int | None = Field(default=None, ge=16, le=16777216)
    """Tokens that each optimiser step learns from, over all micro-batches. Empty: so many that the run has about 100
    steps, 512 to 65536."""
    micro_batch_tokens: int | None = Field(default=None, ge=16, le=16777216)
    """Tokens that go through the model at once; affects memory and speed, not the result. Empty: tokensPerStep, capped
    at 16384."""
    learning_rate: float | None = Field(default=None, gt=0, le=1)
    """Peak learning rate of AdamW. Empty: by method and objective."""
    packing: Literal["auto", "off"] = "auto"
    """auto: rows are packed without padding where the model's attention keeps them apart, which is tested at the start
    of every run. off: rows are padded. Affects memory and speed, not the result."""
    compile: Literal["auto", "on", "off"] = "auto"
    """Whether torch compiles the model's layers for training, about a minute. auto: on a GPU, where the run is long
    enough for that to pay. Affects memory and speed, not the result."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """How the learning rate falls after warm-up."""
    warmup_ratio: float = Field(default=0.03, ge=0, le=0.5)
    """Share of the steps over which the learning rate rises."""
    weight_decay: float = Field(default=0.0, ge=0, le=1)
    """Decoupled weight decay."""
    max_grad_norm: float = Field(default=1.0, gt=0, le=1000)
    """Gradients are clipped to this norm."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """auto: bfloat16 on a GPU, float32 on a CPU. Some CPUs multiply bfloat16 twice as fast, which the log then says."""
    seed: int = Field(default=0, ge=0, le=2147483647)
    """Seeds initialisation, row order and dropout."""
    validation: Validation = Validation()
    """How training is followed on the validation rows."""
    guards: Guards = Guards()
    """What is done about a run that goes wrong."""


class Checkpoint(Contract):
    """Saved states that a preempted job goes on from. One is always saved when the pod is asked to stop."""

    uri: S3OutputUri | None = None
    """S3 prefix of this job's checkpoints, where they are to lie in another bucket. Empty: under output.uri."""
    every_minutes: float = Field(default=10.0, ge=0.01, le=1440)
    """Save when the last one is so old."""
    every_steps: int | None = Field(default=None, ge=1, le=1000000)
    """Save after so many optimiser steps too."""
    keep: int = Field(default=2, ge=1, le=100)
    """How many to keep; all are removed once the adapter is committed."""
