"""What is known of a base model without its weights: config.json, and the headers of its safetensors files.

A header lies at the start of its file and names every tensor with type and shape, so a model of any size is described
by a few small reads (https://huggingface.co/docs/safetensors, "Format").
"""

import json
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from finetune_trainer.errors import TrainerError
from finetune_trainer.model_files import first_line, model_invalid
from finetune_trainer.storage import PARALLEL_FILES, Storage, StoredObject

_LENGTH_BYTES: Final = 8
_LARGEST_HEADER: Final = 100_000_000
"""The format's own limit, bytes."""


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One tensor as a header names it."""

    name: str
    shape: tuple[int, ...]

    @property
    def numbers(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)

    @property
    def module(self) -> str:
        """The module that it belongs to."""
        return self.name.rpartition(".")[0]


@dataclass(frozen=True, slots=True)
class BaseModel:
    """A base model's sizes."""

    hidden: int
    """Width of the hidden states."""
    layers: int
    heads: int
    """Attention heads."""
    kv_width: int
    """Width of keys, and of values: fewer heads share them in grouped-query attention."""
    inner: int
    """Width inside the feed-forward part."""
    vocabulary: int
    context: int | None
    """Most positions that it was trained on, where the config tells."""
    tied: bool
    """The output layer is the embedding."""
    tensors: tuple[TensorInfo, ...]

    @property
    def parameters(self) -> int:
        """Numbers in all tensors."""
        return sum(tensor.numbers for tensor in self.tensors)

    @property
    def layer_tensors(self) -> tuple[TensorInfo, ...]:
        """Tensors of the layers: those under a numbered module."""
        return tuple(tensor for tensor in self.tensors if any(part.isdigit() for part in tensor.name.split(".")))

    @property
    def linear_layers(self) -> tuple[TensorInfo, ...]:
        """Matrices [out, in] but the embedding and the output layer, which are known by their vocabulary."""
        return tuple(
            each
            for each in self.tensors
            if each.name.endswith(".weight") and len(each.shape) == 2 and each.shape[0] != self.vocabulary
        )


def read_config(directory: Path) -> Any:
    """The transformers config of a local model directory, which says how the base is built.

    Raises:
        SettingsError: ModelInvalid; it cannot be read, or asks for code of its own.

    """
    from transformers import AutoConfig  # noqa: PLC0415  takes a second that `--help` should not

    try:
        return AutoConfig.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
    except Exception as error:
        raise model_invalid(
            f"config.json of the base model cannot be used: {first_line(error)}",
            "check that model.uri is a causal language model that transformers knows without remote code",
        ) from error


def describe_model(storage: Storage, uri: str, config: Any) -> BaseModel:
    """Describe the model directory under `uri`, of which `read_config` read the config.

    Raises:
        SettingsError: ModelInvalid; a weight file is none, or the config lacks a size.

    """
    prefix = uri.rstrip("/") + "/"
    files = [
        item
        for item in storage.list_objects(prefix)
        if item.uri == prefix + item.name and item.name.endswith(".safetensors")
    ]
    with ThreadPoolExecutor(PARALLEL_FILES) as pool:
        headers = list(pool.map(lambda item: _read_header(storage, item), files))
    return base_model(config, [tensor for header in headers for tensor in header])


def base_model(config: Any, tensors: Sequence[TensorInfo]) -> BaseModel:
    """A base model's sizes from its config and its tensors.

    Raises:
        SettingsError: ModelInvalid; the config lacks a size.

    """
    text = config.get_text_config()
    try:
        hidden, heads = text.hidden_size, text.num_attention_heads
        head = getattr(text, "head_dim", None) or hidden // heads
        return BaseModel(
            hidden=hidden,
            layers=text.num_hidden_layers,
            heads=heads,
            kv_width=head * (getattr(text, "num_key_value_heads", None) or heads),
            inner=getattr(text, "intermediate_size", None) or 4 * hidden,
            vocabulary=text.vocab_size,
            context=getattr(text, "max_position_embeddings", None),
            tied=bool(getattr(text, "tie_word_embeddings", False)),
            tensors=tuple(tensors),
        )
    except (AttributeError, TypeError, ZeroDivisionError) as error:
        raise model_invalid(
            f"config.json of the base model does not tell its size ({first_line(error)})",
            "choose a base model of another architecture (Llama, Qwen and Mistral families work)",
        ) from error


def parse_header(content: bytes) -> list[TensorInfo]:
    """The tensors that a safetensors header names.

    Raises:
        ValueError: it is no header.

    """
    header = json.loads(content)
    if not isinstance(header, dict):
        raise ValueError("the header is no object")
    try:
        return [
            TensorInfo(name, tuple(int(size) for size in value["shape"]))
            for name, value in header.items()
            if name != "__metadata__"
        ]
    except (KeyError, TypeError) as error:
        raise ValueError("a tensor has no shape") from error


def _read_header(storage: Storage, item: StoredObject) -> list[TensorInfo]:
    try:
        length = int.from_bytes(storage.read_range(item.uri, 0, _LENGTH_BYTES), "little")
        if not 0 < length <= min(item.size, _LARGEST_HEADER):
            raise ValueError(f"a header of {length} bytes in a file of {item.size}")
        return parse_header(storage.read_range(item.uri, _LENGTH_BYTES, length))
    except TrainerError:
        raise
    except ValueError as error:
        raise model_invalid(
            f"spec.model.uri: {item.uri} is no safetensors file ({first_line(error)})",
            "save the model with model.save_pretrained(directory) of transformers and upload that",
        ) from error
