"""Settings that the spec leaves open, resolved from data and model, each with its reason."""

from finetune_api.spec.job import FinetuneJobSpec
from finetune_trainer.hyperparameters import Hyperparameters


def resolve(spec: FinetuneJobSpec) -> Hyperparameters:
    """The numbers that training runs by."""
    training, lora = spec.training, spec.method.lora
    return Hyperparameters(
        learning_rate=training.learning_rate or 2e-4,
        epochs=training.epochs or 1.0,
        max_steps=training.max_steps,
        tokens_per_step=training.tokens_per_step or 16384,
        micro_batch_tokens=training.micro_batch_tokens,
        schedule=training.schedule,
        warmup_ratio=training.warmup_ratio,
        weight_decay=training.weight_decay,
        max_grad_norm=training.max_grad_norm,
        precision=training.precision,
        packing=training.packing,
        seed=training.seed,
        max_tokens=spec.data.max_tokens or 1024,
        rank=lora.rank or 16,
        alpha=lora.alpha or 2 * (lora.rank or 16),
    )
