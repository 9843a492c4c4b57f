"""Whether a model can be given rows without padding: asked of the model itself at the start of every run.

Attention may be kept within documents and states may still flow between them: through a convolution, a recurrence, a
layer that ignores the attention it was given. So three documents, the longest row among them, go through the model
packed and alone. Packed, the second one's tokens must make no bit of difference to the others; and each must come out
as it does alone, up to rounding.
"""

import logging
from collections.abc import Sequence
from typing import Any, Final

import torch
from torch import Tensor

from finetune_trainer.attention import DOCUMENT_ATTENTION, packed_inputs
from finetune_trainer.model import causal_lm, decoder_and_head

LOG: Final = logging.getLogger(__name__)

_PADDED: Final = "sdpa"
"""The attention that `document_attention` stands in for."""
_NEIGHBOURS: Final = (5, 3)
"""Tokens of the documents before and after the longest; any short lengths."""
_TOLERANCES: Final = {torch.float32: 1e-3}
_COARSE: Final = 0.1
"""Largest accepted distance of a hidden state from that of the row alone, as a share of its size. Rounding makes about
1e-6 in float32 (measured on CPU) and some 1e-2 in half precision; a layer that sees other tokens makes more than that.
"""


def enable_packing(model: Any, longest: int) -> bool:
    """Give `model` document attention if rows of up to `longest` tokens can be packed for it; otherwise leave it be."""
    before = causal_lm(model).config._attn_implementation
    suits = before in (_PADDED, DOCUMENT_ATTENTION)
    problem = _try(model, longest) if suits else f"its attention is {before}, not {_PADDED}"
    if not problem:
        LOG.info("rows are packed without padding: no row changes its neighbours' hidden states")
        return True
    if suits:
        causal_lm(model).set_attn_implementation(_PADDED)
    LOG.info("rows are padded, not packed: %s", problem)
    return False


def _try(model: Any, longest: int) -> str:
    """Install document attention and say what is wrong with it; empty if nothing is."""
    whole = causal_lm(model)
    whole.set_attn_implementation(DOCUMENT_ATTENTION)
    if whole.config._attn_implementation != DOCUMENT_ATTENTION:
        return f"the attention of {type(whole).__name__} cannot be replaced"
    was_training = model.training
    model.eval()
    try:
        return _leak(model, min(longest, getattr(whole.config, "max_position_embeddings", longest)))
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        return f"{type(whole).__name__} does not take packed rows ({type(error).__name__}: {error})"
    finally:
        model.train(was_training)


@torch.inference_mode()
def _leak(model: Any, longest: int) -> str:
    """How documents disturb each other; empty if they do not."""
    vocabulary = causal_lm(model).get_input_embeddings().num_embeddings
    before, after = _NEIGHBOURS
    first, middle, last = (_tokens(length, start, vocabulary) for start, length in enumerate((before, longest, after)))
    other = _tokens(longest, 3, vocabulary)
    packed = _packed_states(model, [first, middle, last])
    replaced = _packed_states(model, [first, other, last])
    if not all(torch.equal(packed[index], replaced[index]) for index in (0, 2)):
        return "the tokens of a row change its neighbours"
    found = max(
        _distance(state, _alone(model, tokens)) for state, tokens in zip(packed, (first, middle, last), strict=True)
    )
    limit = _TOLERANCES.get(packed[0].dtype, _COARSE)
    return "" if found <= limit else f"a packed row comes out otherwise than alone (by {found:.2g} of its size)"


def _tokens(length: int, start: int, vocabulary: int) -> Tensor:
    """int64 [length]: some tokens, others for another `start`."""
    return (torch.arange(length) * 7 + start * 11 + 3) % vocabulary


def _packed_states(model: Any, documents: Sequence[Tensor]) -> tuple[Tensor, ...]:
    decoder, _ = decoder_and_head(model)
    lengths = [len(tokens) for tokens in documents]
    device = next(decoder.parameters()).device
    inputs = packed_inputs(lengths, device)
    states = decoder(input_ids=torch.cat(list(documents))[None].to(device), use_cache=False, **inputs)
    parts: tuple[Tensor, ...] = states.last_hidden_state[0].split(lengths)
    return parts


def _alone(model: Any, tokens: Tensor) -> Tensor:
    decoder, _ = decoder_and_head(model)
    device = next(decoder.parameters()).device
    states: Tensor = decoder(input_ids=tokens[None].to(device), use_cache=False).last_hidden_state[0]
    return states


def _distance(found: Tensor, expected: Tensor) -> float:
    """Largest distance over all positions, as a share of the expected state's size."""
    difference = (found.float() - expected.float()).norm(dim=-1)
    return float((difference / expected.float().norm(dim=-1).clamp_min(1e-9)).max())
