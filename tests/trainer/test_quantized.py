"""qlora's base, on bitsandbytes' CPU kernels: the same code as on a GPU, which is where it is meant to run."""

import copy

import pytest
import torch
from bitsandbytes import functional
from tiny_model import tiny_config, train_tokenizer, wrap
from trainer_settings import hyperparameters
from transformers import LlamaForCausalLM

from finetune_trainer.artifact import load_artifact, save_artifact
from finetune_trainer.loss import collate, row_losses
from finetune_trainer.methods.attach import attach, finish
from finetune_trainer.methods.settings import MethodSettings
from finetune_trainer.model import load_base
from finetune_trainer.state import trainable

CPU = torch.device("cpu")
PROBE = torch.arange(3, 20)[None]


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    """As wide as the kernels need: a block of 64 numbers has one scale."""
    config = copy.deepcopy(tiny_config())
    config.hidden_size, config.intermediate_size, config.head_dim = 64, 128, 16
    path = tmp_path_factory.mktemp("wide")
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(path)
    wrap(train_tokenizer()).save_pretrained(path)
    return path


def load(directory, *, four_bit, dtype=torch.bfloat16):
    return load_base(directory, dtype=dtype, device=CPU, four_bit=four_bit)


def test_the_layers_are_in_4_bit_and_everything_else_is_float32(directory):
    kinds = {
        (name.split(".")[-2], str(tensor.dtype)) for name, tensor in load(directory, four_bit=True).named_parameters()
    }
    assert {name for name, dtype in kinds if dtype == "torch.uint8"} == {
        "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"
    }  # fmt: skip
    assert {dtype for _, dtype in kinds} == {"torch.uint8", "torch.float32"}


@torch.no_grad()
def test_the_base_computes_what_its_rounded_weights_do(directory):
    rounded, plain = (load(directory, four_bit=False, dtype=torch.float32) for _ in range(2))
    for name, module in rounded.named_modules():
        if isinstance(module, torch.nn.Linear) and name != "lm_head":
            packed = functional.quantize_4bit(module.weight.bfloat16(), quant_type="nf4", compress_statistics=True)
            module.weight.copy_(functional.dequantize_4bit(*packed))
    found, expected = load(directory, four_bit=True)(PROBE).logits, rounded(PROBE).logits
    assert (found - expected).norm() < 0.03 * expected.norm()
    assert (found - plain(PROBE).logits).norm() > 0.1 * expected.norm()


def test_adapters_train_on_it_and_are_read_back(directory, make_rows, tmp_path):
    model = attach(load(directory, four_bit=True), MethodSettings(type="qlora"), hyperparameters())
    optimizer = torch.optim.AdamW([tensor for _, tensor in trainable(model)], lr=0.01)
    batch, losses = collate(make_rows(4), CPU), []
    for _ in range(6):
        loss = row_losses(model, batch).sum()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]
    finish(model, torch.bfloat16)
    saved = save_artifact(model, base_uri="s3://team/model", base_directory=directory, directory=tmp_path)
    again = load_artifact(saved, directory, dtype=torch.bfloat16, device=CPU, four_bit=True)
    with torch.no_grad():
        assert torch.equal(again(PROBE).logits, model.eval()(PROBE).logits)
