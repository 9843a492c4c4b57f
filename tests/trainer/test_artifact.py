"""What is written is what was measured, in a form that plain libraries load, and equal weights give equal bytes."""

import json

import pytest
import torch
from peft import PeftModel
from trainer_settings import hyperparameters
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

from finetune_trainer.artifact import load_artifact, save_artifact
from finetune_trainer.methods.attach import attach, finish
from finetune_trainer.methods.settings import MethodSettings
from finetune_trainer.model import load_base
from finetune_trainer.state import trainable

CPU = torch.device("cpu")
PROBE = torch.arange(3, 20)[None]
BASE_URI = "s3://team/models/tiny"


def trained(directory, method, dtype=torch.float32, seed=1):
    """A model whose trained weights have moved."""
    model = attach(load_base(directory, dtype=dtype, device=CPU), MethodSettings(type=method), hyperparameters())
    torch.manual_seed(seed)
    with torch.no_grad():
        for _, parameter in trainable(model):
            parameter.add_(0.05 * torch.randn_like(parameter))
    finish(model, dtype)
    return model


def save(model, base_directory, directory):
    return save_artifact(model, base_uri=BASE_URI, base_directory=base_directory, directory=directory)


def files(artifact):
    return {path.name: path.read_bytes() for path in artifact.directory.iterdir()}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("method", ["lora", "dora", "rslora", "full", "last-layers"])
def test_read_back_it_computes_what_it_did_in_memory(tiny_model_dir, tmp_path, method, dtype):
    model = trained(tiny_model_dir, method, dtype)
    saved = save(model, tiny_model_dir, tmp_path)
    again = load_artifact(saved, tiny_model_dir, dtype=dtype, device=CPU)
    base = load_base(tiny_model_dir, dtype=dtype, device=CPU)
    with torch.no_grad():
        assert torch.equal(again(PROBE).logits, model(PROBE).logits)
        assert not torch.allclose(again(PROBE).logits, base(PROBE).logits, atol=0.1)


@pytest.mark.parametrize("method", ["lora", "dora", "full", "last-layers"])
def test_equal_weights_give_equal_bytes_wherever_they_are_written(tiny_model_dir, tmp_path, method):
    one = save(trained(tiny_model_dir, method), tiny_model_dir, tmp_path / "one")
    other = save(trained(tiny_model_dir, method), tiny_model_dir, tmp_path / "other")
    assert files(one) == files(other)
    assert files(one) != files(save(trained(tiny_model_dir, method, seed=2), tiny_model_dir, tmp_path / "third"))


def test_an_adapter_is_loaded_by_plain_peft_and_names_its_base_by_uri(tiny_model_dir, tmp_path):
    model = trained(tiny_model_dir, "lora")
    saved = save(model, tiny_model_dir, tmp_path)
    assert (saved.kind, json.loads((tmp_path / "adapter_config.json").read_text())["base_model_name_or_path"]) == (
        "adapter", BASE_URI
    )  # fmt: skip
    plain = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_model_dir), str(tmp_path))
    with torch.no_grad():
        assert torch.equal(plain(PROBE).logits, model(PROBE).logits)


def test_a_whole_model_is_a_directory_that_transformers_loads_with_its_tokenizer(tiny_model_dir, tmp_path):
    saved = save(trained(tiny_model_dir, "full"), tiny_model_dir, tmp_path)
    assert saved.kind == "model"
    assert isinstance(AutoModelForCausalLM.from_pretrained(tmp_path), LlamaForCausalLM)
    tokenizer, original = (AutoTokenizer.from_pretrained(path) for path in (tmp_path, tiny_model_dir))
    assert tokenizer.chat_template == original.chat_template
    assert not any(str(tiny_model_dir) in content.decode(errors="ignore") for content in files(saved).values())


def test_a_large_model_is_written_in_several_files(tiny_model_dir, tmp_path, monkeypatch):
    monkeypatch.setattr("finetune_trainer.artifact._SHARD_SIZE", "50KB")
    model = trained(tiny_model_dir, "full")
    saved = save(model, tiny_model_dir, tmp_path)
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 1
    again = load_artifact(saved, tiny_model_dir, dtype=torch.float32, device=CPU)
    with torch.no_grad():
        assert torch.equal(again(PROBE).logits, model(PROBE).logits)
