"""The trainer's own command line, of which the train command is a loop on a tiny model that hangs in its third step.

python hanging_run.py train --work-dir=... --termination-message-path=...
"""

import sys
import time
from typing import Any

import torch
from tiny_model import tiny_config
from trainer_settings import hyperparameters
from training_run import random_rows
from transformers import LlamaForCausalLM

import finetune_trainer.command_line as trainer
from finetune_api.report import TrainerReport
from finetune_trainer.context import Context
from finetune_trainer.data.item import Item
from finetune_trainer.loop import train
from finetune_trainer.methods.attach import attach
from finetune_trainer.methods.settings import MethodSettings
from finetune_trainer.objectives.language import LanguageTask

NUMBERS = hyperparameters()
MODEL = attach(LlamaForCausalLM(tiny_config()).requires_grad_(False), MethodSettings(), NUMBERS)
"""Made before the watchdog watches, so that only what hangs can take long."""


class Hanging(LanguageTask):
    calls = 0

    def losses(self, model: Any, indices: Any, *, packing: bool) -> torch.Tensor:
        self.calls += 1
        if self.calls == 3:
            time.sleep(3600)
        return super().losses(model, indices, packing=packing)


def hang(context: Context, _options: object) -> TrainerReport:
    train(
        model=MODEL, task=Hanging([Item((row,)) for row in random_rows(6)]), validation=None, settings=NUMBERS,
        plan=[(step,) for step in range(6)], state=None, on_log=lambda log: None,
        should_stop=context.stop.should_stop, on_checkpoint=lambda state: None, every_steps=None,
    )  # fmt: skip
    return context.draft.report


if __name__ == "__main__":
    trainer._COMMANDS = {"train": hang}
    sys.exit(trainer.main())
