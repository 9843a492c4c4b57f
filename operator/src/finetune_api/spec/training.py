"""`spec.objective`, `spec.method`, `spec.training` and `spec.checkpoint`: what is learnt, and how."""

from typing import Literal

from pydantic import ConfigDict, Field

from finetune_api.base import Contract, cel


class Objective(Contract):
    """What the model learns to do."""

    type: Literal["sft"] = "sft"
    """sft: supervised tuning on instructions, chats or prompt-completion pairs; the loss is on the answers only."""


class Lora(Contract):
    """Settings of low-rank adapters (Hu et al. 2021, arXiv:2106.09685)."""

    rank: int = Field(default=16, ge=1, le=512)
    """Rank of the update."""
    alpha: int = Field(default=32, ge=1, le=2048)
    """Scale of the update: alpha / rank."""
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


class Method(Contract):
    """Which weights change."""

    type: Literal["lora"] = "lora"
    """lora: the base stays frozen, small adapters are trained."""
    lora: Lora = Lora()
    """Settings of the adapter."""


class Training(Contract):
    """Hyper-parameters of the training loop."""

    model_config = ConfigDict(
        json_schema_extra={
            "x-kubernetes-validations": [
                cel(
                    "!has(self.microBatchTokens) || self.microBatchTokens <= self.tokensPerStep",
                    "training.microBatchTokens must not exceed training.tokensPerStep",
                )
            ]
        }
    )

    epochs: float = Field(default=1.0, gt=0, le=1000)
    """Passes over the training rows."""
    max_steps: int | None = Field(default=None, ge=1, le=10000000)
    """Stop after this many optimiser steps even if epochs are left."""
    tokens_per_step: int = Field(default=16384, ge=16, le=16777216)
    """Tokens that each optimiser step learns from, over all micro-batches."""
    micro_batch_tokens: int | None = Field(default=None, ge=16, le=16777216)
    """Tokens that go through the model at once; affects memory and speed, not the result. Empty: tokensPerStep, capped
    at 16384."""
    learning_rate: float = Field(default=0.0002, gt=0, le=1)
    """Peak learning rate of AdamW."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """How the learning rate falls after warm-up."""
    warmup_ratio: float = Field(default=0.03, ge=0, le=0.5)
    """Share of the steps over which the learning rate rises."""
    weight_decay: float = Field(default=0.0, ge=0, le=1)
    """Decoupled weight decay."""
    max_grad_norm: float = Field(default=1.0, gt=0, le=1000)
    """Gradients are clipped to this norm."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """auto: bfloat16 on a GPU, float32 on a CPU."""
    seed: int = Field(default=0, ge=0, le=2147483647)
    """Seeds initialisation, row order and dropout."""


class Checkpoint(Contract):
    """Saved states that a preempted job goes on from."""

    every_steps: int = Field(default=100, ge=1, le=1000000)
    """Save after this many optimiser steps, and when the pod is asked to stop."""
    keep: int = Field(default=2, ge=1, le=100)
    """How many to keep; all are removed once the adapter is committed."""
