"""A base model that knows the answers to some rows. A random one has nothing to lose, whatever it is taught."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

STEPS = 40


def make_knowing_model(tiny_model: Path, rows: Sequence[dict[str, str]], directory: Path) -> Path:
    """Teach the tiny model instruction rows, and save it; seconds on a CPU."""
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for step in range(STEPS):
        losses = [_answer_loss(model, tokenizer, row) for row in rows[step % 3 :: 3]]
        torch.stack(losses).mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    for part in (model, tokenizer):
        part.save_pretrained(directory)
    return directory


def _answer_loss(model: Any, tokenizer: Any, row: dict[str, str]) -> torch.Tensor:
    ask = [{"role": "user", "content": row["instruction"]}]
    prompt = tokenizer.apply_chat_template(ask, tokenize=False, add_generation_prompt=True)
    ids = torch.tensor([tokenizer(f"{prompt}{row['response']}<|im_end|>")["input_ids"]])
    labels = ids.clone()
    labels[:, : len(tokenizer(prompt)["input_ids"])] = -100
    loss: torch.Tensor = model(input_ids=ids, labels=labels).loss
    return loss
