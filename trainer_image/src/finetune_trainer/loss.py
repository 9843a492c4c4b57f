"""Cross-entropy on supervised tokens only, summed, so that the caller alone decides what it is a mean over.

*Batches* are packed, rows end to end in one sequence with attention within each row (`attention`), or padded on the
right. Under causal attention no real token sees what follows it, so padding needs no attention mask, and without one
the fast causal kernels run. Padding is known by length, never by id: where the pad token is the end-of-sequence token,
a mask by id would take away the only lesson in stopping.

*The head* is applied to supervised positions alone, a chunk at a time, in float32, and no logits are kept. Where it is
frozen, the gradient with respect to the hidden states is computed in the forward pass. Where it is trained, its own
gradient needs what each loss counts, which only the backward pass knows: the logits are computed again there.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Final

import torch
from torch import Tensor

from finetune_trainer.attention import packed_inputs, to_device
from finetune_trainer.compiled import compiled_too
from finetune_trainer.data.encode import Tokenized
from finetune_trainer.model import decoder_and_head

_CHUNK: Final = 1024
"""Positions whose logits exist at once: 1024 x 150,000 float32 logits are 0.6 GB."""


@dataclass(slots=True)
class InputTime:
    """How long this process has made batches, on the host, in all."""

    seconds: float = 0.0


INPUT_TIME: Final = InputTime()


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows for one pass of the model; n counts the supervised tokens of all rows, in order of row."""

    token_ids: Tensor
    """int64 [rows, length] padded on the right with 0, which means nothing; or packed, [1, tokens]."""
    positions: Tensor
    """int64 [n]: where in the flattened token ids the hidden state stands that predicts each supervised token."""
    targets: Tensor
    """int64 [n]: the supervised tokens."""
    weights: Tensor
    """float32 [n]: what each counts."""
    rows: Tensor
    """int64 [n]: the row of each."""
    size: int
    """Rows."""
    inputs: Mapping[str, Any]
    """What the model is given beside the token ids."""


def collate(rows: Sequence[Tokenized], device: torch.device, *, packing: bool = False) -> Batch:
    """One batch of rows on `device`; positions are found here on the host, so the device is never waited for."""
    began = time.perf_counter()
    lengths = [len(row.token_ids) for row in rows]
    spaces = lengths if packing else [max(lengths)] * len(rows)
    token_ids = torch.zeros(sum(spaces), dtype=torch.int64)
    weights = torch.zeros(sum(spaces))
    for row, start in zip(rows, accumulate(spaces, initial=0), strict=False):
        end = start + len(row.token_ids)
        token_ids[start:end] = torch.as_tensor(row.token_ids)
        # A token is predicted from the state before it; nothing in its row predicts the first.
        weights[start : end - 1] = torch.as_tensor(row.weights)[1:]
    positions = weights.nonzero()[:, 0]
    parts = {
        "token_ids": token_ids.view(1 if packing else len(rows), -1),
        "positions": positions,
        "targets": token_ids[positions + 1],
        "weights": weights[positions],
        "rows": torch.arange(len(rows)).repeat_interleave(torch.tensor(spaces))[positions],
    }
    # What follows may wait for a device that is busy, which is no lack of input.
    INPUT_TIME.seconds += time.perf_counter() - began
    return Batch(
        **{name: to_device(part, device) for name, part in parts.items()},
        size=len(rows),
        inputs=packed_inputs(lengths, device) if packing else {},
    )


def hidden_states(model: Any, batch: Batch) -> Tensor:
    """The decoder's last hidden states [tokens, d], padding included, in the order of the flattened token ids."""
    decoder, _ = decoder_and_head(model)
    states: Tensor = decoder(input_ids=batch.token_ids, use_cache=False, **batch.inputs).last_hidden_state
    return states.flatten(0, 1)


def row_losses(model: Any, batch: Batch) -> Tensor:
    """Weighted sum of -log p over the supervised tokens of each row, float32 [rows]; differentiable."""
    losses = _token_losses(model, batch) * batch.weights
    return torch.zeros(batch.size, device=losses.device).index_add(0, batch.rows, losses)


def _token_losses(model: Any, batch: Batch) -> Tensor:
    _, head = decoder_and_head(model)
    return head_losses(hidden_states(model, batch)[batch.positions], batch.targets, head)


def head_losses(states: Tensor, targets: Tensor, head: Any) -> Tensor:
    """-log p, float32 [n], of targets [n] given hidden states [n, d], through a linear head, trained or frozen."""
    bias = getattr(head, "bias", None)
    losses: Tensor
    if torch.is_grad_enabled() and head.weight.requires_grad:
        losses = _TrainedHeadLoss.apply(states, targets, head, head.weight, bias)
    else:
        losses = _FrozenHeadLoss.apply(states, targets, head)
    return losses


class _FrozenHeadLoss(torch.autograd.Function):
    """-log p [n] of targets [n] given hidden states [n, d], through a linear head that is not trained."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, targets: Tensor, head: Any) -> Tensor:
        losses = torch.empty(len(targets), dtype=torch.float32, device=states.device)
        gradient = torch.empty_like(states) if states.requires_grad else None
        for start in range(0, len(targets), _CHUNK):
            part = slice(start, start + _CHUNK)
            logits = head(states[part])
            if gradient is None:
                losses[part], _ = _losses(logits.float(), targets[part])
            else:
                losses[part], slope = _losses_and_slope(logits, targets[part])
                # Of the head's own format, which autocast can make another one than that of the states.
                gradient[part] = slope.to(head.weight.dtype) @ head.weight
        ctx.save_for_backward(gradient)
        return losses

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * grad_outputs[0][:, None].to(gradient.dtype), None, None


class _TrainedHeadLoss(torch.autograd.Function):
    """The same through a head that is trained: its weight [v, d] and bias [v] get gradients, summed in float32."""

    @staticmethod
    def forward(  # noqa: PLR0917  torch passes them by position
        ctx: Any, states: Tensor, targets: Tensor, head: Any, weight: Tensor, bias: Tensor | None
    ) -> Tensor:
        losses = torch.empty(len(targets), dtype=torch.float32, device=states.device)
        for start in range(0, len(targets), _CHUNK):
            part = slice(start, start + _CHUNK)
            losses[part], _ = _losses(head(states[part]).float(), targets[part])
        ctx.save_for_backward(states, targets, weight, bias)
        ctx.head = head
        return losses

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None, None, Tensor, Tensor | None]:
        states, targets, weight, bias = ctx.saved_tensors
        to_states = torch.empty_like(states)
        to_weight = torch.zeros_like(weight, dtype=torch.float32)
        to_bias = None if bias is None else torch.zeros_like(bias, dtype=torch.float32)
        for start in range(0, len(targets), _CHUNK):
            part = slice(start, start + _CHUNK)
            logits = ctx.head(states[part])
            compute = logits.dtype
            logits = logits.float()
            _, normaliser = _losses(logits, targets[part])
            slope = _slope(logits, normaliser, targets[part]).mul_(grad_outputs[0][part, None])
            if to_bias is not None:
                to_bias += slope.sum(dim=0)
            slope = slope.to(compute)
            to_states[part] = slope @ weight.to(compute)
            to_weight += slope.T @ states[part].to(compute)
        return to_states, None, None, to_weight.to(weight.dtype), None if to_bias is None else to_bias.to(bias.dtype)


@compiled_too
def _losses_and_slope(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """-log p [n] of targets [n], and the gradient of each with respect to its logits [n, v], in the format of these.

    The logits may be overwritten.
    """
    wide = logits.float()
    losses, normaliser = _losses(wide, targets)
    if not torch.compiler.is_compiling():
        return losses, _slope(wide, normaliser, targets).to(logits.dtype)
    # One pass, where a scatter would be another over all logits.
    is_target = torch.arange(logits.shape[1], device=logits.device) == targets[:, None]
    return losses, ((wide - normaliser).exp() - is_target.float()).to(logits.dtype)


def _losses(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """-log p [n] of targets [n] and the logarithm of the normaliser [n, 1], of logits [n, v]."""
    normaliser = logits.logsumexp(dim=-1, keepdim=True)
    return (normaliser - logits.gather(1, targets[:, None])).squeeze(1), normaliser


def _slope(logits: Tensor, normaliser: Tensor, targets: Tensor) -> Tensor:
    """Gradient of each loss with respect to its logits [n, v], which it replaces."""
    probabilities = logits.sub_(normaliser).exp_()
    return probabilities.scatter_add_(1, targets[:, None], torch.full_like(targets[:, None], -1, dtype=torch.float32))
