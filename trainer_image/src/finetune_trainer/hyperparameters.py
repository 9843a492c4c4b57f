"""The numbers that training runs by: the spec's, with every one that the spec left open resolved.

They are resolved once, by preflight, and frozen in `prepared.json`, so that every attempt runs by the same.
"""

from dataclasses import dataclass
from typing import Final, Literal

_MICRO_BATCH_TOKENS: Final = 16384
"""Used where `training.microBatchTokens` is empty; never more than a step's tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hyperparameters:
    """Settings of one run; names and meanings are those of `spec.training`."""

    learning_rate: float
    epochs: float
    max_steps: int | None = None
    tokens_per_step: int
    micro_batch_tokens: int | None = None
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup_ratio: float = 0.03
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    packing: Literal["auto", "off"] = "auto"
    compile: Literal["auto", "on", "off"] = "auto"
    seed: int = 0
    max_tokens: int
    """`spec.data.maxTokens`."""
    rank: int = 16
    """`spec.method.lora.rank`."""
    alpha: int = 32
    """`spec.method.lora.alpha`."""

    @property
    def micro_batch(self) -> int:
        """Tokens that go through the model at once, padding counted."""
        return self.micro_batch_tokens or min(self.tokens_per_step, _MICRO_BATCH_TOKENS)
