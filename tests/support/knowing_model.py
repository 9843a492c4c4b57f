"""A base model that knows the answers to some rows. A random one has nothing to lose, whatever it is taught."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoModelForCausalLM, AutoTokenizer

STEPS = 40


def make_knowing_model(tiny_model: Path, rows: Sequence[dict[str, str]], directory: Path) -> Path:
    """Teach the tiny model instruction rows, and save it; seconds on a CPU."""
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    ids, labels = _batch(tokenizer, rows)
    for _ in range(STEPS):
        model(input_ids=ids, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    for part in (model, tokenizer):
        part.save_pretrained(directory)
    return directory


def _batch(tokenizer: Any, rows: Sequence[dict[str, str]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and labels, int64 [rows, longest]: padded on the right, which causal attention never looks at."""
    texts, prompts = [], []
    for row in rows:
        ask = [{"role": "user", "content": row["instruction"]}]
        prompts.append(tokenizer.apply_chat_template(ask, tokenize=False, add_generation_prompt=True))
        texts.append(f"{prompts[-1]}{row['response']}<|im_end|>")
    encoded = [torch.tensor(tokenizer(text)["input_ids"]) for text in texts]
    ids = pad_sequence(encoded, batch_first=True)
    labels = pad_sequence(encoded, batch_first=True, padding_value=-100)
    for row_labels, prompt in zip(labels, prompts, strict=True):
        row_labels[: len(tokenizer(prompt)["input_ids"])] = -100
    return ids, labels
