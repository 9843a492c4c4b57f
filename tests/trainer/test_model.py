"""Which directories are models, what is trained of them, and where."""

import json
import shutil

import pytest
import torch
from transformers import LlamaForCausalLM

from finetune_api.conditions import Reason
from finetune_trainer.errors import InfrastructureError, SettingsError
from finetune_trainer.model import check_context, load_base, resolve_device, resolve_dtype
from finetune_trainer.model_files import check_model_files, load_tokenizer

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


def test_sequences_longer_than_the_model_s_positions_are_refused(tiny_model):
    check_context(tiny_model, 512)
    with pytest.raises(SettingsError, match="513 tokens, the base model takes 512"):
        check_context(tiny_model, 513)
