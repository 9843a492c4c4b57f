"""Tiny random models of several architectures, in evaluation mode."""

from typing import Any, Final

import torch
from transformers import AutoConfig, AutoModelForCausalLM

WINDOW: Final = 8
"""Of those with a sliding window: shorter than most rows."""

_SIZES: Final = {
    "vocab_size": 320,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 512,
    "eos_token_id": 1,
    "pad_token_id": 1,
    "initializer_range": 0.2,  # large, so that losses and gradients are not all alike
}
_MODELS: Final[dict[str, dict[str, Any]]] = {
    "llama": {"model_type": "llama"},
    "qwen2": {"model_type": "qwen2"},
    "qwen2-window": {
        "model_type": "qwen2",
        "use_sliding_window": True,
        "sliding_window": WINDOW,
        "max_window_layers": 1,  # the first layer sees everything, the second what its window shows
    },
    "qwen3": {"model_type": "qwen3"},
    "mistral": {"model_type": "mistral", "sliding_window": None},
    "mistral-window": {"model_type": "mistral", "sliding_window": WINDOW},
    "gemma": {"model_type": "gemma"},
    "gemma3-window": {"model_type": "gemma3_text", "sliding_window": WINDOW},
    "phi3": {"model_type": "phi3"},
    "gemma2-capped-scores": {"model_type": "gemma2"},
    "lfm2-convolution": {"model_type": "lfm2", "full_attn_idxs": [1], "block_multiple_of": 8},
    "falcon-own-attention": {"model_type": "falcon", "head_dim": None},
}


def tiny(name: str) -> Any:
    """The model of this name, its weights always the same."""
    settings = {key: value for key, value in (_SIZES | _MODELS[name]).items() if value is not None}
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(settings.pop("model_type"), **settings)).eval()
