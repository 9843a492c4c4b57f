"""qlora's base: NF4 with double quantisation, computed in bfloat16 (Dettmers et al. 2023, arXiv:2305.14314).

It needs bitsandbytes, and a GPU to be of use.
"""

from typing import Any

import torch
from peft import prepare_model_for_kbit_training
from transformers import BitsAndBytesConfig


def quantization() -> Any:
    """How the base's linear layers are held, as transformers wants to be told."""
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )


def prepare_quantized(model: Any) -> Any:
    """What PEFT asks for before adapters are put on a quantised base: everything that is not quantised in float32.

    Done at loading, not with the adapter, so that baseline, training and verification compute alike.
    """
    return prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
