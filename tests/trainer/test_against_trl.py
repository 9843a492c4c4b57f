"""The same data and settings through TRL give the same training.

TRL divides a step's summed loss by `num_items_in_batch`, the supervised tokens of all its micro-batches; so do we, by
the step's weight. They are the same number as long as transformers counts labels after the shift, as it does since
5.x, or no first token is supervised, as here. TRL's usual settings are others (it recomputes activations, truncates at
1024 tokens, shuffles, trains in bfloat16); they are set to ours.

Both sides are float32 on the CPU; they batch differently (TRL pads and cuts a step in two, we pack), so sums differ
in their last bits: 1e-6 of a loss measured, 1e-5 allowed.
"""

from typing import Any

import pytest
import torch
from trainer_settings import hyperparameters
from training_run import random_rows
from transformers import LlamaForCausalLM

from finetune_trainer.data.encode import Tokenized
from finetune_trainer.data.item import Item
from finetune_trainer.data.problems import Source
from finetune_trainer.loop import train
from finetune_trainer.methods.attach import attach
from finetune_trainer.methods.settings import MethodSettings
from finetune_trainer.objectives import preference
from finetune_trainer.objectives.base import Task
from finetune_trainer.objectives.language import LanguageTask
from finetune_trainer.state import trainable

STEPS, BATCH = 12, 8
SETTINGS = hyperparameters(
    learning_rate=0.01, schedule="cosine", warmup_ratio=0.0, weight_decay=0.1, max_grad_norm=1.0, micro_batch_tokens=64
)


@pytest.fixture
def model(tiny_config):
    torch.manual_seed(0)
    return attach(LlamaForCausalLM(tiny_config).requires_grad_(False), MethodSettings(), SETTINGS)


def adapter(model) -> dict[str, torch.Tensor]:
    return {name: parameter.detach().clone() for name, parameter in trainable(model)}


def ours(model, task: Task, batch: int):
    logs: list[Any] = []
    train(
        model=model,
        task=task,
        validation=None,
        settings=SETTINGS,
        plan=[tuple(range(step * batch, (step + 1) * batch)) for step in range(STEPS)],
        state=None,
        on_log=logs.append,
        should_stop=lambda: False,
        on_checkpoint=lambda _: None,
        every_steps=1000,
    )
    return logs


def theirs(folder) -> dict[str, Any]:
    """Settings of a TRL trainer that are ours: two micro-batches a step, in the order of the data."""
    return {
        "output_dir": str(folder),
        "per_device_train_batch_size": BATCH // 2,
        "gradient_accumulation_steps": 2,
        "max_steps": STEPS,
        "learning_rate": SETTINGS.learning_rate,
        "lr_scheduler_type": SETTINGS.schedule,
        "weight_decay": SETTINGS.weight_decay,
        "max_grad_norm": SETTINGS.max_grad_norm,
        "optim": "adamw_torch",
        "train_sampling_strategy": "sequential",
        "gradient_checkpointing": False,
        "bf16": False,
        "use_cpu": True,
        "max_length": None,
        "logging_steps": 1,
        "report_to": "none",
        "save_strategy": "no",
        "disable_tqdm": True,
    }


def assert_same_training(found: list[Any], expected: list[dict[str, Any]]) -> None:
    expected = [log for log in expected if "loss" in log]
    assert len(found) == len(expected) == STEPS
    assert [log.loss for log in found] == pytest.approx([log["loss"] for log in expected], rel=1e-5)
    assert [log.grad_norm for log in found] == pytest.approx([log["grad_norm"] for log in expected], rel=1e-4)
    assert [log.learning_rate for log in found] == pytest.approx([log["learning_rate"] for log in expected])


def test_sft_has_the_trajectory_of_trls_trainer(model, tokenizer, tmp_path):
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    rows = random_rows(STEPS * BATCH)
    assert all(row.weights[0] == 0 for row in rows)
    logs = ours(model, LanguageTask([Item((row,)) for row in rows]), BATCH)
    trained = adapter(model)

    labels = [
        [token if weight else -100 for token, weight in zip(row.token_ids, row.weights, strict=True)] for row in rows
    ]
    data = Dataset.from_dict({"input_ids": [row.token_ids for row in rows], "labels": labels})
    torch.manual_seed(0)
    fresh = attach(LlamaForCausalLM(model.config).requires_grad_(False), MethodSettings(), SETTINGS)
    trainer = SFTTrainer(
        model=fresh, args=SFTConfig(**theirs(tmp_path)), train_dataset=data, processing_class=tokenizer
    )
    trainer.train()
    assert_same_training(logs, trainer.state.log_history)
    for name, tensor in adapter(trainer.model).items():
        torch.testing.assert_close(tensor, trained[name], rtol=1e-3, atol=1e-5)


def test_dpo_has_the_loss_and_trajectory_of_trls_trainer(model, tokenizer, tmp_path):
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    torch.manual_seed(0)
    fresh = attach(LlamaForCausalLM(model.config).requires_grad_(False), MethodSettings(), SETTINGS)
    pairs = [
        {"prompt": f"What is {number}?", "chosen": f" It is {number}.", "rejected": f" {7 * number} or so, I think"}
        for number in range(STEPS * BATCH)
    ]
    trainer = DPOTrainer(
        model=fresh,
        args=DPOConfig(beta=0.1, **theirs(tmp_path)),
        train_dataset=Dataset.from_list(pairs),
        processing_class=tokenizer,
    )
    trainer.train()

    def sequence(row, answer):
        weights = [0.0] * len(row["prompt_ids"]) + [1.0] * len(row[answer])
        return Tokenized(row["prompt_ids"] + row[answer], weights, Source("pairs.jsonl", 1))

    items = [Item((sequence(row, "chosen_ids"), sequence(row, "rejected_ids"))) for row in trainer.train_dataset]
    reference = preference.log_probabilities(model, items, 256)
    logs = ours(model, preference.PreferenceTask(items, reference, 0.1), BATCH)
    assert logs[-1].loss < 0.1 * logs[0].loss, "the preference is learnt"
    assert_same_training(logs, trainer.state.log_history)
