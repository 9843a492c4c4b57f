"""Whether vLLM takes an artifact, by the rules that it checks adapters with."""

import json

import pytest

from finetune_trainer.artifact import SavedArtifact
from finetune_trainer.servable import servable

PLAIN = {"r": 8, "bias": "none", "use_dora": False, "modules_to_save": None, "rank_pattern": {}}


def adapter(directory, **changes):
    (directory / "adapter_config.json").write_text(json.dumps(PLAIN | changes))
    return SavedArtifact("adapter", directory)


@pytest.mark.parametrize(
    ("changes", "vllm", "why"),
    [
        ({}, True, "--enable-lora; rank 8 needs nothing else"),
        ({"r": 16}, True, "--enable-lora; rank 16 needs nothing else"),
        ({"r": 17}, True, "--enable-lora --max-lora-rank 32"),
        ({"r": 8, "rank_pattern": {"q_proj": 64}}, True, "--enable-lora --max-lora-rank 64"),
        ({"r": 513}, False, "above vLLM's largest"),
        ({"use_dora": True}, False, "DoRA"),
        ({"modules_to_save": ["score"]}, False, "modules_to_save"),
        ({"bias": "all"}, False, "biases"),
    ],
    ids=str,
)
def test_an_adapter_is_judged_by_its_config(tmp_path, changes, vllm, why):
    found = servable(adapter(tmp_path, **changes))
    assert (found.vllm, found.tried) == (vllm, False)
    assert why in found.why


def test_a_refused_adapter_names_the_setting_that_helps(tmp_path):
    assert "spec.output.merged" in servable(adapter(tmp_path, use_dora=True)).why


@pytest.mark.parametrize(
    ("architecture", "why"),
    [("LlamaForCausalLM", "as any LlamaForCausalLM"), ("LlamaForSequenceClassification", "pooling model")],
)
def test_a_whole_model_is_served_as_its_architecture_is(tmp_path, architecture, why):
    (tmp_path / "config.json").write_text(json.dumps({"architectures": [architecture]}))
    found = servable(SavedArtifact("model", tmp_path))
    assert found.vllm
    assert why in found.why
