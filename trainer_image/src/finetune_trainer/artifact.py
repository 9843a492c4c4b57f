"""The result on disk, in the forms that everybody else reads.

An *adapter* is in PEFT's layout: `PeftModel.from_pretrained(base, directory)` of plain peft loads it. The tokenizer is
not copied, because training does not change it. With a new head, config.json beside it names the outputs; plain
transformers needs it to put such a head on the base.

A *model* is a directory of transformers, tokenizer and all: `from_pretrained(directory)` loads it, and it can be the
`spec.model.uri` of another job.

Equal weights give equal bytes.
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import torch
from peft import PeftModel
from transformers import AutoConfig, AutoModelForSequenceClassification

from finetune_trainer.methods.quantized import prepare_quantized, quantization
from finetune_trainer.model import causal_lm, load_base
from finetune_trainer.parent import ADAPTER_CONFIG

_SHARD_SIZE: Final = "5GB"
_OWN: Final = ("config.json", "generation_config.json")
"""Files of a model directory that the tuned model has its own of."""
_CLASSIFIER: Final = "ForSequenceClassification"


@dataclass(frozen=True, slots=True)
class SavedArtifact:
    """A result on disk; all files lie in the directory itself, which has the name that it gets in S3."""

    kind: Literal["adapter", "model"]
    directory: Path


def save_artifact(model: Any, *, base_uri: str, base_directory: Path, directory: Path) -> SavedArtifact:
    """Write what a method has made: the adapter of a PeftModel, or else the whole model.

    Args:
        model: As `methods.attach.finish` leaves it.
        base_uri: `spec.model.uri`, which an adapter names as its base.
        base_directory: The base on disk; a whole model takes its tokenizer files from there.
        directory: Where to write.

    """
    if isinstance(model, PeftModel):
        _save_adapter(model, base_uri, directory)
        return SavedArtifact("adapter", directory)
    model.save_pretrained(directory, max_shard_size=_SHARD_SIZE)
    for path in sorted(base_directory.iterdir()):
        if path.name not in _OWN and ".safetensors" not in path.name:
            shutil.copyfile(path, directory / path.name)
    return SavedArtifact("model", directory)


def load_artifact(
    artifact: SavedArtifact, base_directory: Path, *, dtype: torch.dtype, device: torch.device, four_bit: bool = False
) -> Any:
    """The model of a saved artifact, by plain transformers and peft, in evaluation mode.

    Raises:
        SettingsError: base or artifact cannot be loaded whole.

    """
    if artifact.kind == "model":
        config = json.loads((artifact.directory / "config.json").read_text())
        if config["architectures"][0].endswith(_CLASSIFIER):
            return _load_classifier(artifact.directory, artifact.directory, dtype, device)
        return load_base(artifact.directory, dtype=dtype, device=device)
    if (artifact.directory / "config.json").exists():
        base = _load_classifier(base_directory, artifact.directory, dtype, device, four_bit=four_bit)
    else:
        base = load_base(base_directory, dtype=dtype, device=device, four_bit=four_bit)
    return PeftModel.from_pretrained(base, str(artifact.directory)).eval()


def _save_adapter(model: PeftModel, base_uri: str, directory: Path) -> None:
    # Without the flag peft looks the base up on the model hub to compare vocabularies.
    model.save_pretrained(str(directory), safe_serialization=True, save_embedding_layers=False)
    path = directory / ADAPTER_CONFIG
    config = json.loads(path.read_text())
    config["base_model_name_or_path"] = base_uri
    for name in ("target_modules", "modules_to_save"):
        if isinstance(config.get(name), list):
            config[name].sort()
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    if config["modules_to_save"]:
        causal_lm(model).config.save_pretrained(directory)


def _load_classifier(
    weights: Path, config: Path, dtype: torch.dtype, device: torch.device, *, four_bit: bool = False
) -> Any:
    """A model with a new head, which is computed in float32."""
    model = AutoModelForSequenceClassification.from_pretrained(
        weights,
        config=AutoConfig.from_pretrained(config, local_files_only=True, trust_remote_code=False),
        dtype=dtype,
        use_safetensors=True,
        local_files_only=True,
        trust_remote_code=False,
        quantization_config=quantization() if four_bit else None,
        device_map={"": device} if four_bit else None,
    )
    model = (prepare_quantized(model) if four_bit else model.to(device)).eval()
    model.score.float()
    return model.requires_grad_(False)
