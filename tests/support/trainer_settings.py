"""Settings of the training loop for tests."""

from typing import Any

from finetune_trainer.hyperparameters import Hyperparameters


def hyperparameters(**changes: Any) -> Hyperparameters:
    """Settings that suit a tiny model; `changes` replace some."""
    usual = {"epochs": 2.0, "tokens_per_step": 96, "learning_rate": 0.01, "warmup_ratio": 0.2, "seed": 7}
    return Hyperparameters(**{**usual, "max_tokens": 128, "rank": 4, "alpha": 8} | changes)
