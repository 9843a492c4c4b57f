"""What the headers of a model's files tell, and which methods they already rule out."""

import json
from pathlib import Path

import pytest
from model_shapes import llama_1b, llama_8b
from transformers import GPT2Config

from finetune_api.conditions import Reason
from finetune_api.spec.training import LastLayers, Lora, Method
from finetune_trainer.base_model import TensorInfo, base_model, describe_model, parse_header, read_config
from finetune_trainer.errors import SettingsError
from finetune_trainer.methods.checks import check_method_on
from finetune_trainer.storage import StoredObject


class Folder:
    """A storage whose bucket is a directory; it counts the bytes that are read."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.read = directory, 0

    def list_objects(self, prefix: str) -> list[StoredObject]:
        return [StoredObject(prefix + path.name, path.stat().st_size) for path in self.directory.iterdir()]

    def read_range(self, uri: str, start: int, length: int) -> bytes:
        self.read += length
        return (self.directory / uri.rpartition("/")[2]).read_bytes()[start : start + length]


def describe(directory):
    folder = Folder(directory)
    return describe_model(folder, "s3://team/model", read_config(directory)), folder.read


def test_published_models_have_their_published_number_of_parameters():
    assert llama_1b().parameters == 1_235_814_400
    assert llama_8b().parameters == 8_030_261_248


def test_a_model_is_described_from_the_start_of_its_files_alone(tiny_model_dir, tiny_model):
    found, read = describe(tiny_model_dir)
    assert found.parameters == sum(parameter.numel() for parameter in tiny_model.parameters())
    assert (found.hidden, found.layers, found.kv_width, found.inner, found.vocabulary) == (32, 2, 16, 64, 320)
    assert len(found.linear_layers) == 2 * 7
    assert read < (tiny_model_dir / "model.safetensors").stat().st_size / 10


def test_a_model_in_several_files_is_described_whole(tiny_model, tmp_path, tiny_model_dir):
    tiny_model.save_pretrained(tmp_path, max_shard_size="50KB")
    assert {tensor.name for tensor in describe(tmp_path)[0].tensors} == {
        tensor.name for tensor in describe(tiny_model_dir)[0].tensors
    }


def test_sizes_that_a_family_calls_otherwise_are_found():
    found = base_model(GPT2Config(n_embd=48, n_layer=3, n_head=4, n_positions=64), [])
    assert (found.hidden, found.layers, found.heads, found.kv_width, found.inner, found.context) == (
        48,
        3,
        4,
        48,
        192,
        64,
    )


@pytest.mark.parametrize(
    "content",
    [b"", b"not safetensors at all", b"\xff" * 64, b"\x05" + bytes(7) + b"[[]]]", b"\x08" + bytes(7) + b'{"a":{}}'],
)
def test_a_file_that_is_no_safetensors_is_named(tiny_model_dir, tmp_path, content):
    (tmp_path / "config.json").write_bytes((tiny_model_dir / "config.json").read_bytes())
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(SettingsError, match=r"s3://team/model/model.safetensors is no safetensors file") as caught:
        describe(tmp_path)
    assert caught.value.reason == Reason.MODEL_INVALID


def test_metadata_in_a_header_is_no_tensor():
    content = {"__metadata__": {"format": "pt"}, "a.weight": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}
    assert parse_header(json.dumps(content).encode()) == [TensorInfo("a.weight", (2, 3))]


@pytest.mark.parametrize("text", ["{", "{}", '{"model_type": "no-such"}'])
def test_a_config_that_cannot_be_used_is_a_clear_error(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(SettingsError, match=r"config.json of the base model cannot be used"):
        read_config(tmp_path)


@pytest.mark.parametrize("target", ["q_prj", "lm_head", "embed_tokens", "norm"])
def test_an_unknown_target_module_is_refused_from_the_names_of_the_weights(target):
    method = Method(lora=Lora(target_modules=["q_proj", target]))
    with pytest.raises(SettingsError, match=f"spec.method.lora.targetModules: {target} cannot") as caught:
        check_method_on(method, llama_8b())
    assert "down_proj, gate_proj, k_proj, o_proj, q_proj, up_proj, v_proj, or all-linear" in caught.value.advice


@pytest.mark.parametrize(
    "targets", [["all-linear"], ["q_proj", "mlp.up_proj"], ["language_model.model.layers.0.mlp.up_proj"]]
)
def test_known_target_modules_pass_though_a_wrapper_may_call_them_otherwise(targets):
    check_method_on(Method(lora=Lora(target_modules=targets)), llama_8b())


def test_more_last_layers_than_the_config_has_are_refused():
    check_method_on(Method(type="last-layers", last_layers=LastLayers(count=16)), llama_1b())
    with pytest.raises(SettingsError, match=r"lastLayers.count is 17, the base model has 16 layers"):
        check_method_on(Method(type="last-layers", last_layers=LastLayers(count=17)), llama_1b())
