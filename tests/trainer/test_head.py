"""A new head: the model that plain transformers makes, drawn from the seed, read at the last real token."""

import pytest
import torch
from peft import PeftModel
from trainer_settings import hyperparameters
from transformers import AutoModelForSequenceClassification, GPTNeoXConfig, GPTNeoXForCausalLM

from finetune_api.spec.training import Classification, Objective
from finetune_trainer.data.encode import Tokenized
from finetune_trainer.data.item import Item
from finetune_trainer.data.problems import Source
from finetune_trainer.errors import SettingsError
from finetune_trainer.head import LANGUAGE, Head, choose_head, put_head
from finetune_trainer.methods.attach import attach
from finetune_trainer.methods.settings import MethodSettings
from finetune_trainer.model import load_base
from finetune_trainer.objectives.pooled import last_scores
from finetune_trainer.state import trainable

CPU = torch.device("cpu")
HEAD = Head(("good", "bad", "so-so"), pad_token_id=0)
CLASSIFIER = Objective(type="classification", classification=Classification(labels=["good", "bad"]))


def items(*ends):
    return [Item((Tokenized([5, 6, end], [0.0] * 3, Source("rows.jsonl", 1)),), label=0) for end in ends]


def test_only_a_classifier_s_head_and_a_reward_model_s_are_new(tokenizer):
    generative = Objective(
        type="classification", classification=Classification(labels=["good", "bad"], variant="generative")
    )
    assert choose_head(CLASSIFIER, tokenizer, items(7)).labels == ("good", "bad")
    assert choose_head(Objective(type="reward"), tokenizer, items(7)).labels == ("reward",)
    for objective in (generative, Objective(), Objective(type="preference"), Objective(type="continued-pretraining")):
        assert choose_head(objective, tokenizer, items(7)) == LANGUAGE
    assert (HEAD.task_type, HEAD.modules_to_save) == ("SEQ_CLS", ["score"])
    assert (LANGUAGE.task_type, LANGUAGE.modules_to_save) == ("CAUSAL_LM", [])


def test_no_row_ends_in_the_pad_token_of_a_headed_model(tokenizer):
    assert tokenizer.pad_token_id == tokenizer.eos_token_id == 1
    assert choose_head(CLASSIFIER, tokenizer, items(7, 8)).pad_token_id == 1
    assert choose_head(CLASSIFIER, tokenizer, items(7, 1)).pad_token_id == 0
    assert choose_head(CLASSIFIER, tokenizer, items(0, 1, 2)).pad_token_id == 3


def test_a_new_head_is_float32_on_the_same_decoder_and_its_seed_decides_it(tiny_model_dir):
    def headed(seed):
        return put_head(load_base(tiny_model_dir, dtype=torch.bfloat16, device=CPU), HEAD, seed)

    first, second, other = headed(1), headed(1), headed(2)
    assert first.score.weight.dtype == torch.float32
    assert first.score.weight.shape == (3, 32)
    assert torch.equal(first.score.weight, second.score.weight)
    assert not torch.equal(first.score.weight, other.score.weight)
    assert next(first.model.parameters()).dtype == torch.bfloat16
    assert not any(parameter.requires_grad or parameter.is_meta for parameter in first.parameters())
    assert (first.config.num_labels, first.config.label2id["bad"], first.config.pad_token_id) == (3, 1, 0)


def test_the_language_model_s_own_head_is_left_alone(tiny_model):
    assert put_head(tiny_model, LANGUAGE, 0) is tiny_model


def test_an_architecture_without_such_a_model_is_refused(monkeypatch, tiny_model):
    def unknown(config):
        raise ValueError("Unrecognized configuration class")

    monkeypatch.setattr(AutoModelForSequenceClassification, "from_config", unknown)
    with pytest.raises(SettingsError, match="cannot put a new head on LlamaForCausalLM"):
        put_head(tiny_model, HEAD, 0)


def test_another_family_of_models_gets_its_head_too():
    torch.manual_seed(0)
    sizes = {"vocab_size": 320, "hidden_size": 32, "intermediate_size": 64}
    base = GPTNeoXForCausalLM(GPTNeoXConfig(**sizes, num_hidden_layers=1, num_attention_heads=4)).eval()
    rows = [Tokenized([5, 6, 7], [0.0] * 3, Source("rows.jsonl", 1))]
    assert last_scores(put_head(base, HEAD, 0), rows, packing=False).shape == (1, 3)


@torch.no_grad()
def test_plain_transformers_and_peft_score_padded_rows_alike(tiny_model_dir, make_rows, tmp_path):
    """Rows that end in the base's own pad token too: hence the other one in the config."""
    rows = make_rows(6)
    rows = [Tokenized([*row.token_ids, 1], [*row.weights, 1.0], row.source) for row in rows]
    head = Head(("good", "bad", "so-so"), pad_token_id=0)
    base = load_base(tiny_model_dir, dtype=torch.float32, device=CPU)
    ours = attach(put_head(base, head, 3), MethodSettings(), hyperparameters(), head=head).eval()
    for _, parameter in trainable(ours):
        parameter.add_(torch.randn_like(parameter), alpha=0.1)
    ours.save_pretrained(tmp_path)
    plain = AutoModelForSequenceClassification.from_pretrained(tiny_model_dir, num_labels=3, pad_token_id=0)
    theirs = PeftModel.from_pretrained(plain, str(tmp_path)).eval()
    length = max(len(row.token_ids) for row in rows)
    padded = torch.tensor([[*row.token_ids, *[0] * (length - len(row.token_ids))] for row in rows])
    mask = torch.tensor([[n < len(row.token_ids) for n in range(length)] for row in rows])
    expected = theirs(input_ids=padded, attention_mask=mask.long()).logits
    torch.testing.assert_close(last_scores(ours, rows, packing=False), expected, rtol=1e-5, atol=1e-5)


def test_the_head_and_the_adapters_alone_are_trained_and_the_head_gets_no_adapter(tiny_model):
    model = attach(put_head(tiny_model, HEAD, 0), MethodSettings(), hyperparameters(), head=HEAD)
    names = [name for name, _ in trainable(model)]
    assert [name for name in names if "lora_" not in name] == ["base_model.model.score.modules_to_save.default.weight"]
    assert len(names) == 1 + 2 * 7 * 2


def test_a_head_cannot_be_named_as_a_target(tiny_model):
    method = MethodSettings(target_modules=["score"])
    with pytest.raises(SettingsError, match="score"):
        attach(put_head(tiny_model, HEAD, 0), method, hyperparameters(), head=HEAD)
