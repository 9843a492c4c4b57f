"""The loss is that of the whole model, and does not know how rows were batched."""

import copy
import math

import pytest
import torch
from torch.nn import functional
from trainer_settings import hyperparameters
from transformers import LlamaForCausalLM

from finetune_trainer.data.encode import Tokenized
from finetune_trainer.data.problems import Source
from finetune_trainer.evaluate.metrics import loss_table, ratio
from finetune_trainer.evaluate.score import score
from finetune_trainer.loss import collate, head_losses, row_losses
from finetune_trainer.methods.attach import attach
from finetune_trainer.methods.settings import MethodSettings
from finetune_trainer.model import load_base
from finetune_trainer.state import trainable

CPU = torch.device("cpu")


def mean_loss(losses):
    return float(ratio(loss_table(losses).sum(0)))


def whole_model_loss(model, row):
    """Textbook: all logits, shifted by one, cross-entropy where supervised."""
    logits = model(input_ids=torch.tensor(row.token_ids)[None]).logits[0, :-1].float()
    labels = torch.tensor(row.token_ids[1:]).long().masked_fill(torch.tensor(row.weights[1:]) == 0, -100)
    return functional.cross_entropy(logits, labels, ignore_index=-100, reduction="sum")


def test_the_loss_equals_the_textbook_loss_of_single_rows(tiny_model, make_rows):
    rows = make_rows(7)
    with torch.no_grad():
        expected = [float(whole_model_loss(tiny_model, row)) for row in rows]
    assert row_losses(tiny_model, collate(rows, CPU)).tolist() == pytest.approx(expected, rel=1e-5)


def test_the_gradient_equals_that_of_the_textbook_loss(tiny_model, make_rows):
    rows = make_rows(5)
    model = attach(tiny_model, MethodSettings(), hyperparameters())
    torch.manual_seed(1)
    for name, parameter in trainable(model):
        if "lora_B" in name:  # zero at the start, which would hide errors in A
            torch.nn.init.normal_(parameter, std=0.1)
    sum(whole_model_loss(model, row) for row in rows).backward()
    expected = {name: parameter.grad.clone() for name, parameter in trainable(model)}
    model.zero_grad()
    row_losses(model, collate(rows, CPU)).sum().backward()
    for name, parameter in trainable(model):
        torch.testing.assert_close(parameter.grad, expected[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("chunk", [3, 1024])
def test_where_the_head_trains_its_gradient_is_that_of_the_textbook_loss(
    tiny_config, make_rows, monkeypatch, tied, chunk
):
    """A tied weight gets the head's and the embedding's."""
    monkeypatch.setattr("finetune_trainer.loss._CHUNK", chunk)
    config = copy.deepcopy(tiny_config)
    config.tie_word_embeddings = tied
    model = attach(LlamaForCausalLM(config), MethodSettings(type="full"), hyperparameters())
    rows = make_rows(5)
    counts = [1.0, 0.5, 0.0, 2.0, 0.25]
    sum(count * whole_model_loss(model, row) for count, row in zip(counts, rows, strict=True)).backward()
    expected = {name: parameter.grad.clone() for name, parameter in trainable(model)}
    model.zero_grad()
    (row_losses(model, collate(rows, CPU)) * torch.tensor(counts)).sum().backward()
    assert ("lm_head.weight" in expected) is not tied
    for name, parameter in trainable(model):
        torch.testing.assert_close(parameter.grad, expected[name], rtol=1e-4, atol=1e-5)


def test_a_trained_head_with_a_bias_gets_both_gradients(make_rows):
    head = torch.nn.Linear(6, 11)
    states, targets = torch.randn(9, 6, requires_grad=True), torch.randint(0, 11, (9,))
    leaves = (states, *head.parameters())
    expected = torch.autograd.grad(functional.cross_entropy(head(states), targets, reduction="sum"), leaves)
    found = torch.autograd.grad(head_losses(states, targets, head).sum(), leaves)
    torch.testing.assert_close(found, expected)


def test_a_head_trained_in_mixed_precision_has_a_gradient_near_the_exact_one(tiny_model_dir, make_rows):
    rows = make_rows(5)
    gradients = []
    for dtype in (torch.float32, torch.bfloat16):
        base = load_base(tiny_model_dir, dtype=dtype, device=CPU)
        model = attach(base, MethodSettings(type="full"), hyperparameters())
        row_losses(model, collate(rows, CPU)).sum().backward()
        gradients.append(model.lm_head.weight.grad)
    exact, coarse = gradients
    assert coarse.dtype == torch.float32
    assert functional.cosine_similarity(exact.flatten(), coarse.flatten(), dim=0) > 0.999


def test_chunks_of_the_head_do_not_show(tiny_model, make_rows, monkeypatch):
    batch = collate(make_rows(6), CPU)
    whole = row_losses(tiny_model, batch).tolist()
    monkeypatch.setattr("finetune_trainer.loss._CHUNK", 3)
    assert row_losses(tiny_model, batch).tolist() == pytest.approx(whole, rel=1e-6)


def test_what_follows_a_row_in_its_padding_does_not_change_it(tiny_model, make_rows):
    """No attention mask is passed: causal attention alone must keep padding out."""
    short, long = sorted(make_rows(12), key=lambda row: len(row.token_ids))[::11]
    batch = collate([short, long], CPU)
    clean = row_losses(tiny_model, batch)[0]
    batch.token_ids[0, len(short.token_ids) :] = 300
    assert row_losses(tiny_model, batch)[0] == clean


def test_a_token_equal_to_the_padding_id_still_counts(tiny_model):
    row = Tokenized([5, 0, 0, 7], [False, True, True, True], Source("rows.jsonl", 1))
    longer = Tokenized([5] * 9, [False] * 8 + [True], Source("rows.jsonl", 2))
    assert collate([row, longer], CPU).rows.tolist() == [0, 0, 0, 1]


def test_a_supervised_first_token_is_no_target_because_nothing_predicts_it(tiny_model):
    row = Tokenized([5, 6, 7], [True, True, True], Source("rows.jsonl", 1))
    assert row.targets == 2
    assert collate([row], CPU).targets.tolist() == [6, 7]


def test_the_score_does_not_depend_on_the_batch_size(tiny_model, make_rows):
    """A mean of per-batch means would."""
    rows = make_rows(15)
    one_by_one = mean_loss(score(tiny_model, rows, batch_tokens=1))
    assert mean_loss(score(tiny_model, rows, batch_tokens=10_000)) == pytest.approx(one_by_one, rel=1e-6)
    by_hand = sum(float(whole_model_loss(tiny_model, row)) for row in rows) / sum(row.targets for row in rows)
    assert one_by_one == pytest.approx(by_hand, rel=1e-6)


def test_a_uniform_model_has_the_perplexity_of_its_vocabulary(tiny_model, make_rows):
    with torch.no_grad():
        tiny_model.lm_head.weight.zero_()
    assert math.exp(mean_loss(score(tiny_model, make_rows(4), 64))) == pytest.approx(320)


def test_losses_in_bfloat16_are_summed_in_float32(tiny_model_dir, make_rows):
    rows = make_rows(10)
    exact, coarse = (
        mean_loss(score(load_base(tiny_model_dir, dtype=dtype, device=CPU), rows, 256))
        for dtype in (torch.float32, torch.bfloat16)
    )
    assert coarse == pytest.approx(exact, rel=0.02)
