"""Attention within documents: rows lie end to end in one sequence and never see each other.

The documents' lengths travel as an argument through the model's forward to every layer. A value of the surrounding
context would not do: activations that are recomputed in the backward pass are so in another thread, after the forward
pass has ended. A call without documents is that of transformers' own SDPA attention, mask included, so a model keeps
this attention for evaluation and generation too.

On CUDA torch's variable-length kernel takes all documents at once. It has no CPU kernel and none for float32; there
each document is one call of SDPA, neighbours of equal length together.
"""

import functools
import importlib
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

DOCUMENT_ATTENTION: Final = "within_documents"
"""The name that transformers knows this attention by."""
_UNSUPPORTED: Final = ("softcap", "s_aux", "position_bias")
"""Arguments by which models ask for scores that are capped, have sinks or are biased."""
_VARLEN_HEAD_SIZES: Final = range(8, 257, 8)


@dataclass(frozen=True, slots=True)
class Documents:
    """How a sequence is divided."""

    lengths: tuple[int, ...]
    """Tokens of each document; the sequence is as long as all of them."""
    boundaries: Tensor
    """int32 [documents + 1]: where each starts, and where the last ends."""
    longest: int
    """Tokens of the longest."""

    @classmethod
    def of(cls, lengths: Sequence[int], device: torch.device) -> "Documents":
        """Documents of these lengths, one after the other."""
        ends = torch.tensor([0, *accumulate(lengths)], dtype=torch.int32)
        return cls(tuple(lengths), to_device(ends, device), max(lengths))


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """The host's tensor on the device, which is not waited for: that takes memory which the system may not move."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def packed_inputs(lengths: Sequence[int], device: torch.device) -> dict[str, Any]:
    """What a model's forward is called with, beside the token ids [1, tokens], for documents of these lengths."""
    positions = torch.cat([torch.arange(length) for length in lengths])
    return {
        "position_ids": to_device(positions[None], device),
        # A mask of four dimensions is passed on to the layers as it is, so that none of tokens x tokens is built.
        # It is not read here. It hides nothing, so a layer that does read it sees its future, which the probe notices.
        "attention_mask": torch.ones(1, 1, 1, 1, dtype=torch.bool, device=device),
        "documents": Documents.of(lengths, device),
    }


def document_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    documents: Documents | None = None,
    dropout: float = 0.0,
    scaling: float | None = None,
    sliding_window: int | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """Causal attention within each document, as transformers calls it.

    Args:
        module: The layer that asks.
        query: [1, heads, tokens, d].
        key: [1, key heads, tokens, d].
        value: [1, key heads, tokens, d].
        attention_mask: Used where there are no documents.
        documents: Of which the sequence consists; None for SDPA as it is everywhere else.
        dropout: Share of attention weights that are dropped.
        scaling: Of the scores; None is 1 / sqrt(d).
        sliding_window: A token sees so many tokens, itself included; None for all of its document.
        others: What else the model passes to attention.

    Returns:
        [1, tokens, heads, d], and no attention weights.

    Raises:
        NotImplementedError: the layer wants attention of another kind.

    """
    if documents is None:
        stock: tuple[Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **others
        )
        return stock
    unsupported = [name for name in _UNSUPPORTED if others.get(name) is not None]
    if unsupported or not getattr(module, "is_causal", True):
        raise NotImplementedError(f"its attention is not plain and causal ({', '.join(unsupported) or 'both ways'})")
    window = sliding_window if sliding_window is not None and sliding_window < documents.longest else None
    asked = _Asked(documents, dropout, scaling, window)
    varlen = _VARLEN if _suits_varlen(query, value, dropout) else None
    attended = (varlen or _by_document)((query[0], key[0], value[0]), asked)
    return attended[None], None


@dataclass(frozen=True, slots=True)
class _Asked:
    """Arguments of `document_attention` that both ways of computing it need."""

    documents: Documents
    dropout: float
    scaling: float | None
    window: int | None
    """None where it is as long as the longest document."""


_States = tuple[Tensor, Tensor, Tensor]
"""Query [heads, tokens, d], key and value [key heads, tokens, d]."""


@torch.compiler.disable  # type: ignore[untyped-decorator]  # a loop over lengths, which are others in every batch
def _by_document(states: _States, asked: _Asked) -> Tensor:
    """[tokens, heads, d]; equally long documents next to each other are one batch."""
    runs = [(length, len(list(run))) for length, run in groupby(asked.documents.lengths)]
    sizes = [length * count for length, count in runs]
    parts = zip(*(torch.split(whole, sizes, dim=1) for whole in states), strict=True)
    return torch.cat([_one_length(part, length, asked) for part, (length, _) in zip(parts, runs, strict=True)])


def _one_length(states: _States, length: int, asked: _Asked) -> Tensor:
    """[tokens, heads, d] of documents that all have `length` tokens."""
    # [heads, documents x length, d] -> [documents, heads, length, d]
    query, key, value = (whole.view(len(whole), -1, length, whole.shape[2]).transpose(0, 1) for whole in states)
    windowed = asked.window is not None and asked.window < length
    attended = functional.scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=_window_mask(length, asked.window or length, query.device) if windowed else None,
        dropout_p=asked.dropout,
        is_causal=not windowed,
        scale=asked.scaling,
        enable_gqa=query.shape[1] != key.shape[1],
    )
    return attended.transpose(1, 2).flatten(0, 1)


def _window_mask(length: int, window: int, device: torch.device) -> Tensor:
    """Bool [length, length], true where the column is the row's own token or one of the `window` - 1 before it."""
    everything = torch.ones(length, length, dtype=torch.bool, device=device)
    return everything.tril() & everything.triu(1 - window)


def _suits_varlen(query: Tensor, value: Tensor, dropout: float) -> bool:
    sizes = query.shape[-1], value.shape[-1]
    plain = query.dtype in (torch.bfloat16, torch.float16) and sizes[0] == sizes[1] and sizes[0] in _VARLEN_HEAD_SIZES
    return query.is_cuda and plain and dropout == 0.0


def _varlen() -> Callable[[_States, _Asked], Tensor] | None:
    """By torch's variable-length kernel; None where it is not there or does not know causal windows yet."""
    try:
        varlen: Any = importlib.import_module("torch.nn.attention.varlen")
    except ImportError:
        return None
    known = inspect.signature(varlen.varlen_attn).parameters
    if not {"window_size", "scale"} <= known.keys():
        return None
    return functools.partial(_by_varlen, varlen.varlen_attn, "enable_gqa" in known)


def _by_varlen(kernel: Callable[..., Tensor], shares_heads: bool, states: _States, asked: _Asked) -> Tensor:
    """[tokens, heads, d] by one call for all documents; `shares_heads`: the kernel takes fewer key heads than heads."""
    query, key, value = (whole.transpose(0, 1).contiguous() for whole in states)
    groups = query.shape[1] // key.shape[1]
    options: dict[str, Any] = {"enable_gqa": groups > 1} if shares_heads else {}
    if not shares_heads and groups > 1:
        key, value = (whole.repeat_interleave(groups, dim=1) for whole in (key, value))
    # What lies to the left of a token, itself not counted.
    options["window_size"] = (-1 if asked.window is None else asked.window - 1, 0)
    boundaries, longest = asked.documents.boundaries, asked.documents.longest
    return kernel(query, key, value, boundaries, boundaries, longest, longest, scale=asked.scaling, **options)


_VARLEN: Final = _varlen()
AttentionInterface.register(DOCUMENT_ATTENTION, document_attention)
AttentionMaskInterface.register(DOCUMENT_ATTENTION, sdpa_mask)
