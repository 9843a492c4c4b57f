"""Packed rows are trained on exactly as rows apart: no row sees another, whatever the architecture.

Tolerances are those of float32: a packed row goes through matrix products of other shapes than a padded one, which sum
in another order. That makes about 1e-6 of a value; the limits here are 1e-5 for losses, and 1e-4 for gradients, whose
sums are longer and cancel.
"""

import logging
import re

import pytest
import torch
from tiny_architectures import WINDOW, tiny
from torch.nn import functional
from trainer_settings import hyperparameters
from transformers import AttentionInterface

from finetune_trainer import attention
from finetune_trainer.attention import DOCUMENT_ATTENTION, Documents
from finetune_trainer.data.encode import Tokenized
from finetune_trainer.data.item import Item
from finetune_trainer.loss import collate, row_losses
from finetune_trainer.methods.attach import attach
from finetune_trainer.methods.settings import MethodSettings
from finetune_trainer.objectives.language import LanguageTask
from finetune_trainer.packing import enable_packing
from finetune_trainer.state import trainable

CPU = torch.device("cpu")
PACKED = ["llama", "qwen2", "qwen2-window", "qwen3", "mistral", "mistral-window", "gemma", "gemma3-window", "phi3"]


def with_adapter(base):
    """LoRA that changes something: its B is zero at the start, which would hide errors in A's gradient."""
    model = attach(base.requires_grad_(False), MethodSettings(), hyperparameters()).eval()
    torch.manual_seed(1)
    for name, parameter in trainable(model):
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    return model


def gradients(model, rows, *, packing):
    model.zero_grad()
    row_losses(model, collate(rows, CPU, packing=packing)).sum().backward()
    return {name: parameter.grad.clone() for name, parameter in trainable(model)}


def other_tokens(row):
    return Tokenized([(token + 101) % 320 for token in row.token_ids], row.weights, row.source)


@pytest.mark.parametrize("name", PACKED)
def test_other_tokens_in_one_row_leave_its_neighbours_losses_bit_equal(name, make_rows):
    rows = make_rows(6)
    model = with_adapter(tiny(name))
    assert enable_packing(model, 24)
    losses = row_losses(model, collate(rows, CPU, packing=True))
    for changed in range(len(rows)):
        others = [other_tokens(row) if index == changed else row for index, row in enumerate(rows)]
        found = row_losses(model, collate(others, CPU, packing=True))
        equal = (found == losses).tolist()
        assert equal == [index != changed for index in range(len(rows))]


def test_stock_sdpa_given_an_all_ones_mask_leaks_and_ours_does_not(make_rows):
    """The trap: position ids that restart keep documents apart only as long as nobody passes an attention mask."""
    rows = make_rows(3)
    changed = [other_tokens(rows[0]), *rows[1:]]
    model = tiny("llama")

    def last_row(given, **mask):
        batch = collate(given, CPU, packing=True)
        inputs = {"position_ids": batch.inputs["position_ids"], **mask}
        return model.model(input_ids=batch.token_ids, use_cache=False, **inputs).last_hidden_state[
            0, -len(rows[2].token_ids) :
        ]

    ones = {"attention_mask": torch.ones(1, sum(len(row.token_ids) for row in rows), dtype=torch.int64)}
    assert torch.equal(last_row(rows), last_row(changed)), "transformers builds a mask from the position ids"
    assert not torch.equal(last_row(rows, **ones), last_row(changed, **ones))

    assert enable_packing(model, 24)
    documents = {"documents": Documents.of([len(row.token_ids) for row in rows], CPU)}
    assert torch.equal(last_row(rows, **ones, **documents), last_row(changed, **ones, **documents))


@pytest.mark.parametrize("name", PACKED)
def test_packed_rows_have_the_loss_and_gradient_of_padded_ones(name, make_rows):
    rows = make_rows(7)
    assert sum(len(row.token_ids) > WINDOW for row in rows) > 1
    model = with_adapter(tiny(name))
    padded, padded_gradients = row_losses(model, collate(rows, CPU)), gradients(model, rows, packing=False)
    assert enable_packing(model, 24)
    torch.testing.assert_close(row_losses(model, collate(rows, CPU, packing=True)), padded, rtol=1e-5, atol=1e-5)
    found = gradients(model, rows, packing=True)
    largest = max(float(gradient.abs().max()) for gradient in padded_gradients.values())
    assert len(found) >= 14, "an adapter on every linear layer"
    for key, gradient in padded_gradients.items():
        assert gradient.any(), key
        torch.testing.assert_close(found[key], gradient, rtol=1e-4, atol=1e-5 * largest)


def test_recomputed_activations_keep_rows_apart_too(make_rows):
    """The backward pass calls the layers again, when the model's forward is long over."""
    rows = make_rows(5)
    model = with_adapter(tiny("mistral-window"))
    assert enable_packing(model, 24)
    kept = gradients(model, rows, packing=True)
    model.get_base_model().gradient_checkpointing_enable({"use_reentrant": False})
    model.train()
    recomputed = gradients(model, rows, packing=True)
    assert all(torch.equal(recomputed[key], gradient) for key, gradient in kept.items())


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("lfm2-convolution", "the tokens of a row change its neighbours"),
        # Newer versions of transformers choose eager attention themselves.
        ("gemma2-capped-scores", "its attention is eager, not sdpa|softcap"),
        ("falcon-own-attention", "cannot be replaced"),
    ],
)
def test_a_model_that_mixes_rows_is_padded_and_the_log_says_why(name, reason, make_rows, caplog):
    caplog.set_level(logging.INFO)
    model, rows = tiny(name), make_rows(4)
    before = row_losses(model, collate(rows, CPU))
    attention_before = model.config._attn_implementation
    assert not enable_packing(model, 24)
    assert re.search(reason, caplog.messages[-1])
    assert caplog.messages[-1].startswith("rows are padded, not packed")
    assert model.config._attn_implementation == attention_before
    assert torch.equal(row_losses(model, collate(rows, CPU)), before)


def test_a_layer_that_ignores_the_documents_is_found_out(monkeypatch):
    stock = AttentionInterface()["sdpa"]
    monkeypatch.setitem(AttentionInterface._global_mapping, DOCUMENT_ATTENTION, stock)
    assert not enable_packing(tiny("llama"), 24)


def test_a_window_that_shows_in_long_rows_only_is_found_out(monkeypatch):
    """Were windows not heeded, short rows would still come out right: the probe has to be as long as the rows."""

    def without_window(*arguments, sliding_window=None, **others):
        return attention.document_attention(*arguments, **others)

    monkeypatch.setitem(AttentionInterface._global_mapping, DOCUMENT_ATTENTION, without_window)
    assert enable_packing(tiny("mistral-window"), WINDOW)
    assert not enable_packing(tiny("mistral-window"), WINDOW + 1)


def test_scores_that_are_capped_biased_or_have_sinks_are_refused():
    states = torch.randn(1, 2, 6, 8)
    documents = Documents.of([4, 2], CPU)
    for name in ("softcap", "s_aux", "position_bias"):
        with pytest.raises(NotImplementedError, match=name):
            attention.document_attention(
                torch.nn.Identity(), states, states, states, None, documents=documents, **{name: torch.ones(())}
            )


def test_masked_batches_are_as_before_once_packing_is_on(make_rows):
    """Evaluation generates from left-padded prompts with the same model."""
    model = tiny("mistral-window")
    token_ids = torch.tensor([row.token_ids[:12] for row in make_rows(20) if len(row.token_ids) >= 12])
    mask = torch.ones_like(token_ids)
    mask[0, :5] = 0
    expected = model(input_ids=token_ids, attention_mask=mask).logits
    assert enable_packing(model, 24)
    assert model.config._attn_implementation == DOCUMENT_ATTENTION
    assert torch.equal(model(input_ids=token_ids, attention_mask=mask).logits, expected)


def test_the_name_of_the_attention_is_not_saved_with_the_model(tmp_path):
    model = tiny("llama")
    assert enable_packing(model, 24)
    model.save_pretrained(tmp_path)
    assert DOCUMENT_ATTENTION not in (tmp_path / "config.json").read_text()


def test_rows_of_one_token_and_single_rows_are_packed_too(tiny_model, make_rows):
    row = make_rows(1)[0]
    lone = Tokenized([7], [1.0], row.source)
    assert enable_packing(tiny_model, 24)
    found = row_losses(tiny_model, collate([lone, row, lone], CPU, packing=True))
    expected = row_losses(tiny_model, collate([row], CPU, packing=True))
    torch.testing.assert_close(found, torch.tensor([0.0, float(expected), 0.0]), rtol=1e-5, atol=1e-6)


def test_a_packed_batch_has_no_padding(tiny_model, make_rows):
    rows = make_rows(9)
    task = LanguageTask([Item((row,)) for row in rows])
    seen = []
    hook = tiny_model.model.embed_tokens.register_forward_hook(lambda _, given, __: seen.append(given[0].shape))
    task.losses(tiny_model, range(9), packing=True)
    hook.remove()
    assert seen == [(1, sum(task.lengths))]


def causal_reference(query, key, value, boundaries, _same, longest, _too, *, scale, window_size, enable_gqa=False):
    """`varlen_attn` of torch 2.12 as its documentation describes it, one query at a time."""
    assert boundaries.dtype == torch.int32
    assert longest == int(boundaries.diff().max())
    assert enable_gqa == (query.shape[1] != key.shape[1])
    left, right = window_size
    assert right == 0
    found = torch.empty_like(query)
    for start, end in zip(boundaries[:-1].tolist(), boundaries[1:].tolist(), strict=True):
        for token in range(start, end):
            seen = slice(start if left < 0 else max(start, token - left), token + 1)
            one = functional.scaled_dot_product_attention(
                query[token, :, None], key[seen].transpose(0, 1), value[seen].transpose(0, 1),
                scale=scale, enable_gqa=enable_gqa,
            )  # fmt: skip
            found[token] = one[:, 0]
    return found


def without_shared_heads(query, key, value, boundaries, _same, longest, _too, *, scale, window_size):
    """The same of torch 2.11."""
    return causal_reference(query, key, value, boundaries, _same, longest, _too, scale=scale, window_size=window_size)


@pytest.mark.parametrize("kernel", [causal_reference, without_shared_heads])
@pytest.mark.parametrize("window", [None, 3])
@pytest.mark.parametrize("key_heads", [2, 4])
def test_the_variable_length_kernel_is_asked_for_the_same_attention(kernel, window, key_heads):
    torch.manual_seed(0)
    states = tuple(torch.randn(heads, 17, 8) for heads in (4, key_heads, key_heads))
    asked = attention._Asked(Documents.of([7, 4, 4, 1, 1], CPU), dropout=0.0, scaling=0.3, window=window)
    found = attention._by_varlen(kernel, kernel is causal_reference, states, asked)
    torch.testing.assert_close(found, attention._by_document(states, asked), rtol=1e-5, atol=1e-6)


def test_the_installed_torch_has_the_variable_length_kernel():
    assert attention._varlen() is not None
