"""A merged model computes what base and adapter do, by plain transformers, and never holds what is not finite."""

import pytest
import torch
from trainer_settings import hyperparameters
from transformers import AutoModelForCausalLM

from finetune_trainer.artifact import save_artifact
from finetune_trainer.errors import DivergedError
from finetune_trainer.merged import merge
from finetune_trainer.methods.attach import attach, finish
from finetune_trainer.methods.settings import MethodSettings
from finetune_trainer.model import load_base
from finetune_trainer.state import trainable

CPU = torch.device("cpu")
PROBE = torch.arange(3, 20)[None]


def trained(directory, method, value=0.05):
    model = attach(
        load_base(directory, dtype=torch.float32, device=CPU), MethodSettings(type=method), hyperparameters()
    )
    torch.manual_seed(1)
    with torch.no_grad():
        for _, parameter in trainable(model):
            parameter.add_(value * torch.randn_like(parameter))
    finish(model, torch.float32)
    return model


def save(model, base_directory, directory):
    return save_artifact(model, base_uri="s3://models/tiny", base_directory=base_directory, directory=directory)


def distance(found, expected):
    """Relative to the length of the expected vector."""
    return float((found.float() - expected).norm() / expected.norm())


@pytest.mark.parametrize("quantized", [False, True], ids=["in memory", "onto a base read anew"])
@pytest.mark.parametrize("method", ["lora", "dora", "rslora"])
def test_plain_transformers_load_it_and_it_computes_the_same(tiny_model_dir, tmp_path, method, quantized):
    model = trained(tiny_model_dir, method)
    with torch.no_grad():
        expected = model(PROBE).logits
    adapter = save(model, tiny_model_dir, tmp_path / "adapter")
    whole = merge(model, adapter, tiny_model_dir, quantized=quantized)
    saved = save(whole, tiny_model_dir, tmp_path / "merged")
    assert saved.kind == "model"
    loaded = AutoModelForCausalLM.from_pretrained(saved.directory, dtype=torch.float32)
    tolerance = 0.03 if quantized else 1e-5  # bfloat16 has eight bits
    with torch.no_grad():
        assert distance(loaded(PROBE).logits, expected) < tolerance
        base = load_base(tiny_model_dir, dtype=torch.float32, device=CPU)
        assert distance(base(PROBE).logits, expected) > 0.3
    assert {"tokenizer.json", "config.json"} <= {path.name for path in saved.directory.iterdir()}


def test_weights_that_are_not_finite_are_not_merged(tiny_model_dir, tmp_path):
    model = trained(tiny_model_dir, "lora")
    adapter = save(model, tiny_model_dir, tmp_path / "adapter")
    with torch.no_grad():
        next(parameter for _, parameter in trainable(model)).fill_(torch.nan)
    with pytest.raises(DivergedError, match=r"spec\.output\.merged"):
        merge(model, adapter, tiny_model_dir, quantized=False)
