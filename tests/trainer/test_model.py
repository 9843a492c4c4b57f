"""Which directories are models, what is trained of them, and where."""

import json
import shutil

import pytest
import torch
from trainer_settings import hyperparameters
from transformers import LlamaForCausalLM

from finetune_api.conditions import Reason
from finetune_api.spec.training import Lora
from finetune_trainer.errors import InfrastructureError, SettingsError
from finetune_trainer.model import attach_lora, check_context, load_base, resolve_device, resolve_dtype
from finetune_trainer.model_files import check_model_files, load_tokenizer
from finetune_trainer.state import trainable

CPU = torch.device("cpu")


def load(directory):
    return load_base(directory, dtype=torch.float32, device=CPU)


@pytest.fixture
def copy(tiny_model_dir, tmp_path):
    return shutil.copytree(tiny_model_dir, tmp_path / "model")


def change_config(directory, **changed):
    path = directory / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))


def without_config(directory):
    (directory / "config.json").unlink()


def pickled(directory):
    (directory / "model.safetensors").rename(directory / "pytorch_model.bin")


def truncated(directory):
    path = directory / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def more_layers(directory):
    change_config(directory, num_hidden_layers=3)


def other_width(directory):
    change_config(directory, intermediate_size=96)


def remote_code(directory):
    change_config(directory, model_type="custom", auto_map={"AutoConfig": "m.C", "AutoModelForCausalLM": "m.M"})


def broken_config(directory):
    (directory / "config.json").write_text("{")


NOT_MODELS = {
    without_config: "holds no config.json",
    pickled: r"only pickled weights \(pytorch_model.bin\)",
    truncated: "cannot be loaded",
    more_layers: "the weights lack 9 tensors that config.json asks for",
    other_width: "cannot be loaded",
    remote_code: "cannot be loaded",
    broken_config: "cannot be loaded",
}


@pytest.mark.parametrize("damage", NOT_MODELS, ids=lambda damage: damage.__name__)
def test_a_directory_that_is_no_whole_model_is_refused_with_what_is_wrong(copy, damage):
    damage(copy)
    with pytest.raises(SettingsError, match=NOT_MODELS[damage]) as caught:
        load(copy)
    assert caught.value.reason == Reason.MODEL_INVALID
    assert "\n" not in caught.value.message


def test_a_model_that_changes_its_logits_after_the_head_is_refused(copy, monkeypatch):
    """The loss applies the head itself; scaled or capped logits would be trained wrongly in silence."""
    forward = LlamaForCausalLM.forward

    def capped(self, *args, **kwargs):
        output = forward(self, *args, **kwargs)
        output.logits = output.logits.tanh()
        return output

    monkeypatch.setattr(LlamaForCausalLM, "forward", capped)
    with pytest.raises(SettingsError, match="changes its logits"):
        load(copy)


def test_a_model_without_a_tokenizer_is_refused():
    with pytest.raises(SettingsError, match="no tokenizer"):
        check_model_files({"config.json", "model.safetensors"}, "s3://team/model")


def test_a_broken_tokenizer_is_a_clear_error(copy):
    (copy / "tokenizer.json").write_text("{")
    with pytest.raises(SettingsError, match="the tokenizer cannot be loaded"):
        load_tokenizer(copy)


def test_a_loaded_tokenizer_encodes_as_the_saved_one(copy, tokenizer):
    loaded = load_tokenizer(copy)
    assert loaded("The <|im_end|> fox")["input_ids"] == tokenizer("The <|im_end|> fox")["input_ids"]
    assert loaded.chat_template == tokenizer.chat_template


def test_a_requested_gpu_that_is_not_visible_fails_and_never_runs_on_the_cpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InfrastructureError) as caught:
        resolve_device(1)
    assert caught.value.reason == Reason.GPU_NOT_VISIBLE
    assert resolve_device(0) == CPU


@pytest.mark.parametrize(
    ("precision", "device", "expected"),
    [
        ("auto", "cpu", torch.float32),
        ("auto", "cuda", torch.bfloat16),
        ("bfloat16", "cpu", torch.bfloat16),
        ("float32", "cuda", torch.float32),
    ],
)
def test_auto_precision_is_bfloat16_on_gpus_alone(precision, device, expected):
    assert resolve_dtype(precision, torch.device(device)) == expected


def test_the_adapter_alone_is_trained_in_float32_on_every_linear_layer_but_the_head(tiny_model_dir):
    base = load_base(tiny_model_dir, dtype=torch.bfloat16, device=CPU)
    model = attach_lora(base, Lora(), hyperparameters(rank=4))
    names = dict(trainable(model))
    assert len(names) == 2 * 7 * 2
    assert all("lora_" in name and parameter.dtype == torch.float32 for name, parameter in names.items())


def test_a_fresh_adapter_changes_nothing_and_its_seed_decides_it(tiny_config):
    def fresh(seed):
        torch.manual_seed(0)
        return attach_lora(LlamaForCausalLM(tiny_config).eval(), Lora(), hyperparameters(rank=4, seed=seed))

    probe = torch.arange(3, 20)[None]
    torch.manual_seed(0)
    untouched = LlamaForCausalLM(tiny_config).eval()
    assert torch.equal(fresh(1)(probe).logits, untouched(probe).logits)

    def equal(one, other):
        return all(torch.equal(a, b) for (_, a), (_, b) in zip(trainable(one), trainable(other), strict=True))

    assert equal(fresh(1), fresh(1))
    assert not equal(fresh(1), fresh(2))


@pytest.mark.parametrize("target", ["q_prj", "lm_head", "embed_tokens"])
def test_a_module_that_cannot_get_an_adapter_is_refused_with_those_that_can(tiny_model, target):
    with pytest.raises(SettingsError, match=target) as caught:
        attach_lora(tiny_model, Lora(target_modules=["q_proj", target]), hyperparameters())
    assert "down_proj, gate_proj, k_proj, o_proj, q_proj, up_proj, v_proj" in caught.value.advice


def test_named_modules_alone_get_an_adapter(tiny_model):
    model = attach_lora(tiny_model, Lora(target_modules=["self_attn.q_proj", "v_proj"]), hyperparameters())
    assert {name.split(".lora_")[0].rpartition(".")[2] for name, _ in trainable(model)} == {
        "q_proj",
        "v_proj",
    }


def test_sequences_longer_than_the_model_s_positions_are_refused(tiny_model):
    check_context(tiny_model, 512)
    with pytest.raises(SettingsError, match="513 tokens, the base model takes 512"):
        check_context(tiny_model, 513)
