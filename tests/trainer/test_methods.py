"""What each method trains, in which precision, and that it starts from the base."""

import pytest
import torch
from tiny_model import tiny_config
from trainer_settings import hyperparameters
from transformers import GPT2Config, GPT2LMHeadModel, LlamaForCausalLM, LlamaForSequenceClassification

from finetune_trainer.errors import SettingsError
from finetune_trainer.methods.attach import attach, finish
from finetune_trainer.methods.settings import MethodSettings
from finetune_trainer.model import load_base
from finetune_trainer.state import trainable

CPU = torch.device("cpu")
PROBE = torch.arange(3, 20)[None]
EVERY = ("lora", "dora", "rslora", "full", "last-layers")


class NewHead:
    """A classifier's head, as its objective describes it."""

    task_type = "SEQ_CLS"
    modules_to_save = ("score",)


def load(directory, dtype=torch.float32):
    return load_base(directory, dtype=dtype, device=CPU)


def names(model):
    return {name for name, _ in trainable(model)}


def classifier(dtype=torch.float32):
    torch.manual_seed(0)
    config = tiny_config()
    config.num_labels = 3
    model = LlamaForSequenceClassification(config).to(dtype).eval().requires_grad_(False)
    model.score.float()
    return model


@pytest.mark.parametrize("method", EVERY)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_before_its_first_step_a_method_computes_what_the_base_does(tiny_model_dir, method, dtype):
    with torch.no_grad():
        untouched = load(tiny_model_dir, dtype)(PROBE).logits
        model = attach(load(tiny_model_dir, dtype), MethodSettings(type=method), hyperparameters())
        found = model(PROBE).logits
    if dtype == torch.float32 and method != "dora":  # DoRA divides by a norm and multiplies by it again
        assert torch.equal(found, untouched)
    torch.testing.assert_close(
        found.float(), untouched.float(), rtol=0.03, atol=0.1 if dtype != torch.float32 else 1e-4
    )


@pytest.mark.parametrize("method", EVERY)
def test_what_trains_is_float32_though_the_base_is_bfloat16(tiny_model_dir, method):
    model = attach(load(tiny_model_dir, torch.bfloat16), MethodSettings(type=method), hyperparameters())
    assert {parameter.dtype for _, parameter in trainable(model)} == {torch.float32}


@pytest.mark.parametrize(
    ("method", "parts"), [("lora", {"lora_A", "lora_B"}), ("dora", {"lora_A", "lora_B", "lora_magnitude_vector"})]
)
def test_adapters_alone_train_on_every_linear_layer_but_the_head(tiny_model_dir, method, parts):
    found = names(attach(load(tiny_model_dir), MethodSettings(type=method), hyperparameters(rank=4)))
    assert len(found) == 2 * 7 * len(parts)
    assert {name.rsplit(".default", 1)[0].rpartition(".")[2] for name in found} == parts


@pytest.mark.parametrize(("method", "scale"), [("lora", 8 / 4), ("dora", 8 / 4), ("rslora", 8 / 4**0.5)])
def test_the_update_is_scaled_as_the_method_says(tiny_model_dir, method, scale):
    model = attach(load(tiny_model_dir), MethodSettings(type=method), hyperparameters(rank=4, alpha=8))
    layer = model.get_base_model().model.layers[0].self_attn.q_proj
    assert layer.scaling == {"default": scale}


def test_the_seed_decides_a_fresh_adapter(tiny_model_dir):
    def fresh(seed):
        return [
            tensor
            for _, tensor in trainable(attach(load(tiny_model_dir), MethodSettings(), hyperparameters(seed=seed)))
        ]

    def equal(one, other):
        return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))

    assert equal(fresh(1), fresh(1))
    assert not equal(fresh(1), fresh(2))


@pytest.mark.parametrize("target", ["q_prj", "lm_head", "embed_tokens"])
def test_a_module_that_cannot_get_an_adapter_is_refused_with_those_that_can(tiny_model, target):
    with pytest.raises(SettingsError, match=target) as caught:
        attach(tiny_model, MethodSettings(target_modules=["q_proj", target]), hyperparameters())
    assert "down_proj, gate_proj, k_proj, o_proj, q_proj, up_proj, v_proj" in caught.value.advice


def test_named_modules_alone_get_an_adapter(tiny_model):
    method = MethodSettings(target_modules=["self_attn.q_proj", "v_proj"])
    model = attach(tiny_model, method, hyperparameters())
    assert {name.split(".lora_")[0].rpartition(".")[2] for name in names(model)} == {"q_proj", "v_proj"}


def test_full_trains_every_weight_and_a_tied_one_once(tiny_model_dir):
    model = attach(load(tiny_model_dir), MethodSettings(type="full"), hyperparameters())
    assert names(model) == {name for name, _ in model.named_parameters()}
    config = tiny_config()
    config.tie_word_embeddings = True
    tied = attach(LlamaForCausalLM(config).eval(), MethodSettings(type="full"), hyperparameters())
    assert names(tied) == names(model) - {"lm_head.weight"}
    assert tied.lm_head.weight is tied.model.embed_tokens.weight


def test_the_last_layers_train_with_the_final_norm_and_nothing_else(tiny_model):
    model = attach(tiny_model, MethodSettings(type="last-layers", last_layers=1), hyperparameters())
    found = names(model)
    assert "model.norm.weight" in found
    assert {name.rpartition("layers.")[2][:2] for name in found} == {"1.", "mo"}
    assert len(found) == 9 + 1


def test_the_last_layers_of_another_architecture_are_found_too():
    config = GPT2Config(vocab_size=320, n_embd=32, n_layer=3, n_head=4, n_positions=64)
    model = attach(GPT2LMHeadModel(config), MethodSettings(type="last-layers"), hyperparameters())
    assert {".".join(name.split(".")[:3]) for name in names(model)} == {
        "transformer.h.1", "transformer.h.2", "transformer.ln_f.weight", "transformer.ln_f.bias"
    }  # fmt: skip


def test_more_last_layers_than_there_are_is_refused(tiny_model):
    with pytest.raises(SettingsError, match=r"lastLayers.count is 3, the base model has 2 layers"):
        attach(tiny_model, MethodSettings(type="last-layers", last_layers=3), hyperparameters())


def test_layers_that_cannot_be_told_from_other_parts_are_refused(tiny_model):
    tiny_model.experts = torch.nn.ModuleList([torch.nn.Linear(2, 2) for _ in range(2)])
    with pytest.raises(SettingsError, match="LlamaForCausalLM cannot be told from its other parts"):
        attach(tiny_model, MethodSettings(type="last-layers"), hyperparameters())


@pytest.mark.parametrize("method", EVERY)
def test_a_new_head_trains_whole_with_every_method(method):
    model = attach(classifier(), MethodSettings(type=method), hyperparameters(), head=NewHead())
    assert any(name.endswith(("score.weight", "score.modules_to_save.default.weight")) for name in names(model))


@pytest.mark.parametrize("method", ["full", "last-layers"])
def test_a_trained_model_is_measured_in_the_format_that_it_is_published_in(tiny_model_dir, tmp_path, method):
    model = attach(load(tiny_model_dir, torch.bfloat16), MethodSettings(type=method), hyperparameters())
    with torch.no_grad():
        for _, parameter in trainable(model):
            parameter.add_(0.01 * torch.randn_like(parameter))
        wide = model(PROBE).logits
        finish(model, torch.bfloat16)
        rounded = model(PROBE).logits
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    assert not names(model)
    torch.testing.assert_close(rounded.float(), wide.float(), rtol=0.05, atol=0.3)
    model.save_pretrained(tmp_path)
    with torch.no_grad():
        assert torch.equal(LlamaForCausalLM.from_pretrained(tmp_path, dtype=torch.bfloat16)(PROBE).logits, rounded)


def test_a_new_head_is_rounded_and_stays_float32(tiny_model_dir):
    model = attach(classifier(torch.bfloat16), MethodSettings(type="full"), hyperparameters(), head=NewHead())
    finish(model, torch.bfloat16, head=NewHead())
    weight = model.score.weight
    assert weight.dtype == torch.float32
    assert torch.equal(weight, weight.bfloat16().float())


def test_adapters_are_left_in_float32(tiny_model_dir):
    model = attach(load(tiny_model_dir, torch.bfloat16), MethodSettings(), hyperparameters())
    finish(model, torch.bfloat16)
    assert {parameter.dtype for _, parameter in trainable(model)} == {torch.float32}
