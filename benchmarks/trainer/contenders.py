"""Those that are compared. Each trains the work's steps on a model of its own and tells when steps began and ended.

stock:N          transformers' Trainer with PEFT, N rows of like length at a time, padded to the longest of them
stock-flat:N     the same, rows end to end without padding, kept apart by a mask
trl              TRL's SFTTrainer as it comes: 8 rows at a time, bfloat16, activations recomputed
trl-tuned:N      the same without recomputation, in the base's precision, N rows of like length at a time
trl-flat:N       the same, without padding
ours             this trainer's loop, with compiled layers on a GPU
ours:uncompiled  the same without these
ours:unfused     neither these, nor LoRA in one piece with its base

TRL's packing would make other steps of the same rows, and flat batches leave it no padding to save.
"""

# ruff: noqa: PLC0415  a contender loads its own libraries alone; the time and memory of others' are not its own
import tempfile
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import torch
from torch.nn.utils.rnn import pad_sequence

from benchmarks.trainer.work import LEARNING_RATE, LORA_RANK, Work

IGNORED: Final = -100
Clock = Callable[[], None]
"""Called before the first step and after each."""
Losses = list[float]


def contender(name: str) -> Callable[[Work, Clock], Losses]:
    """What a contender's name stands for."""
    kind, _, size = name.partition(":")
    if kind == "ours" and size in ("", "uncompiled", "unfused"):
        return lambda work, clock: train_ours(work, clock, fused=size != "unfused", compiled=not size)
    flat = kind.endswith("-flat")
    if kind in ("stock", "stock-flat"):
        return lambda work, clock: train_stock(work, clock, int(size or 4), flat=flat)
    if kind in ("trl", "trl-tuned", "trl-flat"):
        return lambda work, clock: train_trl(work, clock, int(size or 8), tuned=kind != "trl", flat=flat)
    raise ValueError(f"{name!r} is none of those that benchmarks/trainer/contenders.py lists")


def train_ours(work: Work, clock: Clock, *, fused: bool, compiled: bool) -> Losses:
    """This trainer's loop, packed."""
    from finetune_trainer.loop import train
    from finetune_trainer.methods.attach import attach
    from finetune_trainer.methods.settings import MethodSettings
    from finetune_trainer.objectives.language import LanguageTask

    base = work.load().requires_grad_(False)
    settings = replace(settings_of(work), compile="on" if compiled and work.device.type == "cuda" else "off")
    model = attach(base, MethodSettings(type=work.method), settings, fused=fused)
    size = work.rows_per_step
    losses: Losses = []

    def between_steps() -> bool:
        clock()
        return False

    train(
        model=model, task=LanguageTask(items(work)), validation=None, settings=settings,
        plan=[tuple(range(step * size, (step + 1) * size)) for step in range(work.steps + 1)], state=None,
        on_log=lambda log: losses.append(log.loss), should_stop=between_steps,
        on_checkpoint=lambda _: None, every_steps=10**6,
    )  # fmt: skip
    clock()
    return losses


def settings_of(work: Work) -> Any:
    """The work's settings, as ours takes them."""
    from finetune_trainer.hyperparameters import Hyperparameters

    return Hyperparameters(
        learning_rate=LEARNING_RATE, epochs=1.0, tokens_per_step=1, max_tokens=work.longest, packing="auto",
        micro_batch_tokens=work.micro_batch, schedule="constant", warmup_ratio=0.0, weight_decay=0.0, rank=LORA_RANK,
        alpha=2 * LORA_RANK,
    )  # fmt: skip


def items(work: Work) -> list[Any]:
    """The work's rows, as ours takes them."""
    from finetune_trainer.data.encode import Tokenized
    from finetune_trainer.data.item import Item
    from finetune_trainer.data.problems import Source

    return [
        Item((Tokenized(ids, [float(place >= masked) for place in range(len(ids))], Source("random", number)),))
        for number, (ids, masked) in enumerate(work.rows(), start=1)
    ]


def train_stock(work: Work, clock: Clock, batch: int, *, flat: bool) -> Losses:
    """Trainer with PEFT, as its documentation shows it."""
    from peft import LoraConfig, get_peft_model
    from transformers import DataCollatorWithFlattening, Trainer, TrainingArguments

    base = work.load(work.held)
    model = base if work.method == "full" else get_peft_model(base, LoraConfig(**_lora()))
    rows = [_row(*row) for row in _like_together(work)]
    arguments = TrainingArguments(**_settings(work, batch), remove_unused_columns=False)
    collator = DataCollatorWithFlattening() if flat else _pad
    trainer = Trainer(
        model=model, args=arguments, train_dataset=rows, data_collator=collator, callbacks=[_callback(clock)]
    )
    return _run(trainer)


def train_trl(work: Work, clock: Clock, batch: int, *, tuned: bool, flat: bool) -> Losses:
    """SFTTrainer, as it comes or tuned."""
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    base = work.load(work.held)
    rows = [_row(*row) for row in (_like_together(work) if tuned else work.rows())]
    settings = _settings(work, batch)
    if tuned:
        settings |= {"gradient_checkpointing": False, "padding_free": flat}
    else:
        del settings["bf16"]  # its own is true
    trainer = SFTTrainer(
        model=base,
        args=SFTConfig(**settings, max_length=None),
        train_dataset=Dataset.from_list([{"input_ids": row["input_ids"], "labels": row["labels"]} for row in rows]),
        processing_class=AutoTokenizer.from_pretrained(work.model),
        peft_config=None if work.method == "full" else LoraConfig(**_lora()),
        callbacks=[_callback(clock)],
    )
    return _run(trainer)


def _like_together(work: Work) -> list[tuple[list[int], int]]:
    """The rows, those of a step by their length: each step has the same, and padding is least."""
    rows, size = work.rows(), work.rows_per_step
    steps = [rows[start : start + size] for start in range(0, len(rows), size)]
    return [row for step in steps for row in sorted(step, key=lambda row: len(row[0]))]


def _lora() -> dict[str, Any]:
    return {"r": LORA_RANK, "lora_alpha": 2 * LORA_RANK, "target_modules": "all-linear", "task_type": "CAUSAL_LM"}


def _row(ids: list[int], masked: int) -> dict[str, list[int]]:
    return {"input_ids": ids, "labels": [IGNORED] * masked + ids[masked:]}


def _pad(rows: list[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
    def padded(name: str, value: int) -> torch.Tensor:
        return pad_sequence([torch.tensor(row[name]) for row in rows], batch_first=True, padding_value=value)

    ones = [torch.ones(len(row["input_ids"]), dtype=torch.long) for row in rows]
    mask = pad_sequence(ones, batch_first=True)
    return {"input_ids": padded("input_ids", 0), "labels": padded("labels", IGNORED), "attention_mask": mask}


def _settings(work: Work, batch: int) -> dict[str, Any]:
    return {
        "output_dir": tempfile.mkdtemp(), "per_device_train_batch_size": batch,
        "gradient_accumulation_steps": work.rows_per_step // batch, "max_steps": work.steps + 1,
        "learning_rate": LEARNING_RATE, "lr_scheduler_type": "constant", "logging_steps": 1, "report_to": "none",
        "save_strategy": "no", "disable_tqdm": True, "train_sampling_strategy": "sequential",
        "use_cpu": work.device.type == "cpu", "bf16": work.dtype == torch.bfloat16,
    }  # fmt: skip


def _callback(clock: Clock) -> Any:
    from transformers import TrainerCallback

    class Timer(TrainerCallback):
        def on_train_begin(self, *_: Any, **_others: Any) -> None:
            clock()

        def on_step_end(self, *_: Any, **_others: Any) -> None:
            clock()

    return Timer()


def _run(trainer: Any) -> Losses:
    trainer.train()
    return [float(log["loss"]) for log in trainer.state.log_history if "loss" in log]
