"""Low-rank adapters on a frozen base: new ones, and ones that go on from an earlier job's."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from peft.utils import SAFETENSORS_WEIGHTS_NAME
from safetensors.torch import load_file
from torch import Tensor, nn

from finetune_api.conditions import Reason
from finetune_trainer.errors import SettingsError
from finetune_trainer.hyperparameters import Hyperparameters
from finetune_trainer.methods.settings import ALL_LINEAR, MethodSettings, unknown_targets
from finetune_trainer.model_files import first_line


def add_adapter(
    base: Any, method: MethodSettings, settings: Hyperparameters, task_type: str, heads: Sequence[str]
) -> PeftModel:
    """New adapters, of weights in float32 that are drawn from torch's generator and change nothing yet.

    Raises:
        SettingsError: a target module does not exist or is the head.

    """
    names = method.target_modules
    if ALL_LINEAR not in names:
        _check_targets(base, names, heads)
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=method.dropout,
        target_modules=ALL_LINEAR if ALL_LINEAR in names else list(names),
        use_dora=method.type == "dora",
        use_rslora=method.type == "rslora",
        task_type=task_type,
        modules_to_save=list(heads) or None,
    )
    return get_peft_model(base, config, autocast_adapter_dtype=True)


def continue_adapter(
    base: Any, method: MethodSettings, parent: Path, task_type: str, heads: Sequence[str]
) -> PeftModel:
    """The parent's adapter, trainable; a head that the parent does not have is new.

    Raises:
        SettingsError: the parent's weights do not fit this base model.

    """
    try:
        config = LoraConfig.from_pretrained(str(parent))
        config.inference_mode = False
        config.lora_dropout = method.dropout
        config.task_type = task_type
        config.modules_to_save = list(heads) or None
        # Its weights are all overwritten below; another initialisation could change the base too (PiSSA, LoftQ).
        config.init_lora_weights = True
        weights = load_file(parent / SAFETENSORS_WEIGHTS_NAME)
        model = get_peft_model(base, config, autocast_adapter_dtype=True)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        raise _parent_unfit(f"cannot be loaded ({first_line(error)})") from error
    own = get_peft_model_state_dict(model)
    new = {name: tensor for name, tensor in own.items() if any(f".{module}." in name for module in heads)}
    weights = new | weights
    _require_fit(own, weights)
    set_peft_model_state_dict(model, weights)
    return model


def _require_fit(expected: dict[str, Tensor], found: dict[str, Tensor]) -> None:
    """Every adapter weight must come from the parent: PEFT leaves what is missing as it was drawn."""
    missing, unknown = sorted(expected.keys() - found.keys()), sorted(found.keys() - expected.keys())
    if missing or unknown:
        raise _parent_unfit(
            f"lacks {len(missing)} tensors and has {len(unknown)} unknown ones, {(missing + unknown)[0]} first"
        )
    for name, tensor in found.items():
        if tensor.shape != expected[name].shape:
            raise _parent_unfit(f"has {name} of shape {list(tensor.shape)}, not {list(expected[name].shape)}")


def _parent_unfit(what: str) -> SettingsError:
    return SettingsError(
        reason=Reason.SETTINGS_INVALID,
        message=f"spec.model.adapterUri: the adapter {what}",
        advice="name the artifact of a job with the same base model and a like objective, or leave adapterUri empty",
    )


def _check_targets(base: Any, targets: Sequence[str], heads: Sequence[str]) -> None:
    output = base.get_output_embeddings()
    linear = [
        name
        for name, module in base.named_modules()
        if isinstance(module, nn.Linear) and module is not output and name not in heads
    ]
    unknown = [target for target in targets if not any(f".{name}".endswith(f".{target}") for name in linear)]
    if unknown:
        raise unknown_targets(unknown, linear)
