"""Going on from an adapter: what may not contradict it, and that it is loaded whole or not at all."""

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_model import tiny_config
from trainer_settings import hyperparameters
from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification

from finetune_api.spec.job import FinetuneJobSpec
from finetune_api.spec.training import Objective
from finetune_trainer.artifact import save_artifact
from finetune_trainer.errors import SettingsError
from finetune_trainer.methods.attach import attach
from finetune_trainer.methods.checks import check_method
from finetune_trainer.methods.settings import MethodSettings
from finetune_trainer.model import load_base
from finetune_trainer.parent import ADAPTER_WEIGHTS, AdapterConfig, ParentAdapter, check_labels, check_parent
from finetune_trainer.state import trainable

CPU = torch.device("cpu")
PROBE = torch.arange(3, 20)[None]
BASE_URI = "s3://team/models/tiny"


def spec(method=None, base=BASE_URI, gpus=0):
    return FinetuneJobSpec.model_validate(
        {
            "model": {"uri": base, "adapterUri": "s3://team/first/out/runs/0001/adapter/"},
            "data": {"train": [{"uri": "s3://team/rows.jsonl"}]},
            "method": method or {},
            "output": {"uri": "s3://team/second/out"},
            "resources": {"gpus": {"count": gpus}},
        }
    )


def config(**changes):
    usual = {
        "peft_type": "LORA", "base_model_name_or_path": BASE_URI, "r": 8, "lora_alpha": 16,
        "target_modules": ["q_proj", "v_proj"], "task_type": "CAUSAL_LM",
    }  # fmt: skip
    return AdapterConfig.model_validate({**usual, **changes})


@pytest.fixture(params=["lora", "dora", "rslora"])
def parent(request, tiny_model_dir, tmp_path):
    """A trained adapter on disk, and the logits that it gives."""
    base = load_base(tiny_model_dir, dtype=torch.float32, device=CPU)
    model = attach(base, MethodSettings(type=request.param), hyperparameters(rank=4, alpha=12))
    torch.manual_seed(1)
    with torch.no_grad():
        for _, parameter in trainable(model):
            parameter.add_(0.05 * torch.randn_like(parameter))
        logits = model(PROBE).logits
    saved = save_artifact(model, base_uri=BASE_URI, base_directory=tiny_model_dir, directory=tmp_path / "parent")
    return on_disk(saved.directory), logits


def on_disk(directory):
    content = AdapterConfig.model_validate_json((directory / "adapter_config.json").read_text())
    return ParentAdapter("s3://team/first/out/runs/0001/adapter/", directory, content, "sha256:0")


def continued(parent, tiny_model_dir, method=None):
    base = load_base(tiny_model_dir, dtype=torch.float32, device=CPU)
    return attach(base, method or MethodSettings(type=parent.config.method), hyperparameters(), parent=parent.directory)


def test_before_its_first_step_the_model_is_the_parent_and_all_of_it_trains(parent, tiny_model_dir):
    adapter, logits = parent
    model = continued(adapter, tiny_model_dir)
    with torch.no_grad():
        assert torch.equal(model.eval()(PROBE).logits, logits)
    fresh = attach(
        load_base(tiny_model_dir, dtype=torch.float32, device=CPU),
        MethodSettings(type=adapter.config.method), hyperparameters(rank=4),
    )  # fmt: skip
    assert [name for name, _ in trainable(model)] == [name for name, _ in trainable(fresh)]
    assert model.peft_config["default"].lora_alpha == 12


def test_dropout_is_the_job_s_own(parent, tiny_model_dir):
    adapter, _ = parent
    model = continued(adapter, tiny_model_dir, MethodSettings(type=adapter.config.method, dropout=0.25))
    assert model.get_base_model().model.layers[0].self_attn.q_proj.lora_dropout["default"].p == 0.25


def test_a_parent_that_lacks_a_tensor_is_refused(parent, tiny_model_dir):
    adapter, _ = parent
    weights = load_file(adapter.directory / ADAPTER_WEIGHTS)
    gone = sorted(weights)[0]
    save_file({name: tensor for name, tensor in weights.items() if name != gone}, adapter.directory / ADAPTER_WEIGHTS)
    with pytest.raises(SettingsError, match="lacks 1 tensors and has 0 unknown ones") as caught:
        continued(adapter, tiny_model_dir)
    assert gone in caught.value.message


def test_a_parent_of_another_width_is_refused(parent, tmp_path):
    adapter, _ = parent
    config = LlamaConfig(**{**tiny_config().to_dict(), "intermediate_size": 96})
    with pytest.raises(SettingsError, match=r"of shape \[4, 64\], not \[4, 96\]"):
        attach(
            LlamaForCausalLM(config),
            MethodSettings(type=adapter.config.method),
            hyperparameters(),
            parent=adapter.directory,
        )


def test_a_parent_that_is_no_safetensors_file_is_refused(parent, tiny_model_dir):
    adapter, _ = parent
    (adapter.directory / ADAPTER_WEIGHTS).write_bytes(b"\x80\x04pickle")
    with pytest.raises(SettingsError, match=r"spec.model.adapterUri: .* cannot be loaded \(SafetensorError"):
        continued(adapter, tiny_model_dir)


class NewHead:
    task_type = "SEQ_CLS"
    modules_to_save = ("score",)


def test_a_language_adapter_is_gone_on_from_as_a_classifier_with_a_new_head(parent):
    adapter, _ = parent
    torch.manual_seed(0)
    base = LlamaForSequenceClassification(tiny_config()).eval().requires_grad_(False)
    head = base.score.weight.clone()
    model = attach(
        base, MethodSettings(type=adapter.config.method), hyperparameters(), head=NewHead(), parent=adapter.directory
    )
    found = dict(trainable(model))
    weights = load_file(adapter.directory / ADAPTER_WEIGHTS)
    saved = {name.replace(".weight", ".default.weight"): tensor for name, tensor in weights.items()}
    saved = {name.replace("vector", "vector.default.weight"): tensor for name, tensor in saved.items()}
    assert all(torch.equal(found[name], tensor) for name, tensor in saved.items())
    assert found.keys() - saved.keys() == {"base_model.model.score.modules_to_save.default.weight"}
    assert torch.equal(found["base_model.model.score.modules_to_save.default.weight"], head)


@pytest.mark.parametrize(
    ("changes", "method", "field"),
    [
        ({}, {"type": "dora"}, "spec.method.type is dora"),
        ({"use_dora": True}, {}, "spec.method.type is lora"),
        ({"use_rslora": True}, {"type": "qlora"}, "spec.method.type is qlora"),
        ({"use_rslora": True, "use_dora": True}, {"type": "dora"}, "has dora and rslora at once"),
        ({}, {"lora": {"rank": 16}}, "spec.method.lora.rank is 16, .* has 8"),
        ({}, {"lora": {"alpha": 8}}, "spec.method.lora.alpha is 8, .* has 16"),
        ({}, {"lora": {"targetModules": ["q_proj"]}}, "spec.method.lora.targetModules"),
        ({"target_modules": "all-linear"}, {"lora": {"targetModules": ["q_proj"]}}, "spec.method.lora.targetModules"),
        ({"peft_type": "IA3"}, {}, "PEFT's type IA3"),
        ({"base_model_name_or_path": "s3://team/models/other"}, {}, "s3://team/models/other, spec.model.uri is"),
    ],
)  # fmt: skip
def test_a_spec_that_contradicts_the_adapter_is_refused_by_field(changes, method, field):
    with pytest.raises(SettingsError, match=field):
        check_parent(config(**changes), spec(method))


@pytest.mark.parametrize(
    ("changes", "method"),
    [
        ({}, {}),
        ({}, {"type": "qlora"}),
        ({"use_dora": True}, {"type": "dora"}),
        ({}, {"lora": {"rank": 8, "alpha": 16, "targetModules": ["v_proj", "q_proj"]}}),
    ],
)
def test_a_spec_that_repeats_or_leaves_open_what_the_adapter_has_passes(changes, method):
    check_parent(config(**changes), spec(method))
    check_parent(config(**changes), spec(method, base=f"{BASE_URI}/"))


LABELS = {"labels": ["good", "bad"]}


@pytest.mark.parametrize(
    ("objective", "wrong"),
    [
        ({"type": "classification", "classification": LABELS}, None),
        ({"type": "classification", "classification": {"labels": ["bad", "good"]}}, r"is \['bad', 'good'\]"),
        ({"type": "classification", "classification": {**LABELS, "variant": "generative"}}, "has a head for good, bad"),
        ({"type": "sft"}, "objective.type sft has no use for"),
        ({"type": "reward"}, r"is \['reward'\]"),
    ],
)
def test_a_parent_s_head_must_have_the_same_outputs(objective, wrong):
    objective = Objective.model_validate(objective)
    if wrong is None:
        check_labels(["good", "bad"], objective)
        return
    with pytest.raises(SettingsError, match=wrong):
        check_labels(["good", "bad"], objective)


@pytest.mark.parametrize("method", ["full", "last-layers"])
def test_methods_that_train_no_adapter_cannot_go_on_from_one(method):
    with pytest.raises(SettingsError, match=f"spec.model.adapterUri: method.type {method}"):
        check_method(spec({"type": method}))


def test_qlora_without_a_gpu_is_refused():
    check_method(spec({"type": "qlora"}, gpus=1))
    with pytest.raises(SettingsError, match=r"qlora needs a GPU, and spec.resources.gpus.count is 0"):
        check_method(spec({"type": "qlora"}))
