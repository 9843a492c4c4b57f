"""A model that is trained in milliseconds, with everything a real one has: tokenizer, chat template, files."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] | trim }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_TEXT = [
    "The quick brown fox jumps over the lazy dog, 0123456789 times.",
    "user assistant system instruction input response answer question\n\n### Instruction:\n### Response:\n",
]


def train_tokenizer() -> Tokenizer:
    """Byte-level BPE, 320 tokens, with ChatML's control tokens and a beginning-of-sequence token."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = ["<|im_start|>", "<|im_end|>", "<s>"]
    trainer = trainers.BpeTrainer(
        vocab_size=320, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(_TEXT, trainer)
    return tokenizer


def wrap(tokenizer: Tokenizer, template: str | None = CHATML, **tokens: str) -> PreTrainedTokenizerFast:
    """A transformers tokenizer whose pad token is its end-of-sequence token, as in many published models."""
    names = {"eos_token": "<|im_end|>", "pad_token": "<|im_end|>", **tokens}
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)
    wrapped.chat_template = template
    return wrapped


def tiny_config() -> LlamaConfig:
    """Two layers, 320 tokens."""
    return LlamaConfig(
        vocab_size=320,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        eos_token_id=1,
        pad_token_id=1,
        bos_token_id=None,
        initializer_range=0.2,  # large, so that losses and gradients are not all alike
    )


def make_tiny_model(directory: Path) -> Path:
    """Write a model directory as it stands in S3: config.json, model.safetensors, tokenizer with chat template."""
    torch.manual_seed(0)
    LlamaForCausalLM(tiny_config()).save_pretrained(directory)
    wrap(train_tokenizer()).save_pretrained(directory)
    return directory
