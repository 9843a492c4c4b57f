"""The learning rate as a pure function of the step, so that nothing about it needs saving."""

import math

from finetune_trainer.hyperparameters import Hyperparameters


def learning_rate(step: int, total_steps: int, settings: Hyperparameters) -> float:
    """The rate of a step (the first is 0): linear warm-up, then the schedule down to nearly zero at the last step."""
    warmup = math.ceil(total_steps * settings.warmup_ratio)
    if step < warmup:
        return settings.learning_rate * (step + 1) / warmup
    done = (step - warmup) / max(1, total_steps - warmup)
    falling = {"constant": 1.0, "linear": 1.0 - done, "cosine": 0.5 * (1.0 + math.cos(math.pi * done))}
    return settings.learning_rate * falling[settings.schedule]
