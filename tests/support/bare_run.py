"""The loop on a tiny model, unbroken and in two attempts, with validation rows; prints their weights' digests."""

import contextlib
import hashlib
import importlib.util
import json
import sys

import torch
from tiny_model import tiny_config
from trainer_settings import hyperparameters
from transformers import LlamaForCausalLM

from finetune_trainer.control import Control
from finetune_trainer.data.encode import Tokenized
from finetune_trainer.data.item import Item
from finetune_trainer.data.problems import Source
from finetune_trainer.errors import StopRequested
from finetune_trainer.loop import train
from finetune_trainer.methods.attach import attach
from finetune_trainer.methods.settings import MethodSettings
from finetune_trainer.objectives.language import LanguageTask
from finetune_trainer.state import LoopState, trainable

STEPS = 6


def run(state: LoopState | None, polls: int) -> tuple[str, list[LoopState]]:
    """One attempt, asked to stop after so many polls; the digest of the adapter, and the states that it saved."""
    torch.manual_seed(0)
    settings = hyperparameters(epochs=1.0)
    model = attach(LlamaForCausalLM(tiny_config()).requires_grad_(False), MethodSettings(dropout=0.1), settings)
    items = [Item((Tokenized(range(3, 10 + row), [1.0] * (7 + row), Source("rows", row)),)) for row in range(STEPS)]
    asked, states = iter(range(polls)), list[LoopState]()
    with contextlib.suppress(StopRequested):
        train(
            model=model, task=LanguageTask(items), validation=LanguageTask(items[:2]), settings=settings,
            plan=[(row,) for row in range(STEPS)], state=state, on_log=lambda _: None,
            should_stop=lambda: next(asked, None) is None, on_checkpoint=states.append, every_steps=None,
            control=Control(keep="best", patience=3, on_divergence="rollback"),
        )  # fmt: skip
    weights = b"".join(parameter.detach().numpy().tobytes() for _, parameter in trainable(model))
    return hashlib.sha256(weights).hexdigest(), states


if __name__ == "__main__":
    torch.set_num_threads(1)
    whole, _ = run(None, 10**6)
    _, (saved,) = run(None, 3)
    resumed, _ = run(saved, 10**6)
    there = [name for name in sys.argv[1:] if importlib.util.find_spec(name)]
    print(json.dumps({"there": there, "whole": whole, "resumed": resumed, "stopped_after": saved.counters.step}))
