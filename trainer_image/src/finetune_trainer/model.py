"""The base model and its adapter: where they compute, in which precision, and what of them is trained."""

from pathlib import Path
from typing import Any, Final, Literal

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn
from transformers import AutoModelForCausalLM

from finetune_api.conditions import Reason
from finetune_api.spec.training import Lora
from finetune_trainer.errors import InfrastructureError, SettingsError
from finetune_trainer.head import LANGUAGE, SCORE, Head
from finetune_trainer.hyperparameters import Hyperparameters
from finetune_trainer.model_files import check_model_files, first_line, model_invalid

Precision = Literal["auto", "float32", "bfloat16"]

_DTYPES: Final = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def resolve_device(gpus: int) -> torch.device:
    """The device for a pod that requested so many GPUs.

    Raises:
        InfrastructureError: a GPU was requested and is not visible; training on the CPU instead would look like
            success and take weeks.

    """
    if gpus == 0:
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise InfrastructureError(
            reason=Reason.GPU_NOT_VISIBLE,
            message=f"resources.gpus.count is {gpus}, but CUDA sees no GPU in the pod",
            advice="check the node's driver and device plugin, and that the driver is not older than the image's CUDA",
        )
    return torch.device("cuda")


def resolve_dtype(precision: Precision, device: torch.device) -> torch.dtype:
    """The base model's number format; `auto` is bfloat16 on a GPU and float32 on a CPU, where bfloat16 is slower."""
    if precision == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    return _DTYPES[precision]


def load_base(directory: Path, *, dtype: torch.dtype, device: torch.device) -> Any:
    """The frozen base model of a local directory, on its device, in evaluation mode.

    Raises:
        SettingsError: the directory is no model that can be loaded whole.

    """
    check_model_files({path.name for path in directory.iterdir()}, "the model directory")
    try:
        model, info = AutoModelForCausalLM.from_pretrained(
            directory,
            dtype=dtype,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        raise model_invalid(
            f"the base model cannot be loaded: {first_line(error)}",
            "check that model.uri is a complete causal language model that transformers knows without remote code",
        ) from error
    _require_all_weights(info)
    model.requires_grad_(False)
    model = model.to(device).eval()
    _require_plain_head(model)
    return model


def attach_lora(base: Any, lora: Lora, settings: Hyperparameters, head: Head = LANGUAGE) -> PeftModel:
    """Adapters on the frozen base: their weights are float32, drawn from the seed.

    They and a new head (`head.put_head`) are the only ones that train.

    Raises:
        SettingsError: a target module does not exist or is the head.

    """
    targets = "all-linear" if "all-linear" in lora.target_modules else list(lora.target_modules)
    if isinstance(targets, list):
        _check_targets(base, targets)
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=lora.dropout,
        target_modules=targets,
        task_type=head.task_type,
        modules_to_save=head.modules_to_save or None,
    )
    torch.manual_seed(settings.seed)
    return get_peft_model(base, config, autocast_adapter_dtype=True)


def causal_lm(model: Any) -> Any:
    """The transformers model itself, whose layers hold the adapters if there are any."""
    return model.get_base_model() if isinstance(model, PeftModel) else model


def decoder_and_head(model: Any) -> tuple[nn.Module, nn.Module]:
    """The part that makes hidden states, and the linear layer that turns them into logits."""
    whole = causal_lm(model)
    return getattr(whole, whole.base_model_prefix), whole.get_output_embeddings()


def check_context(model: Any, longest: int) -> None:
    """Check that sequences of `longest` tokens fit the model.

    Raises:
        SettingsError: they are longer than the positions that it was trained on.

    """
    limit = getattr(causal_lm(model).config, "max_position_embeddings", None)
    if limit is not None and longest > limit:
        raise SettingsError(
            reason=Reason.SETTINGS_INVALID,
            message=f"the longest sequence has {longest} tokens, the base model takes {limit}",
            advice=f"set data.maxTokens to at most {limit} less evaluation.maxNewTokens, or evaluation.fewShot lower",
        )


def _require_all_weights(info: dict[str, Any]) -> None:
    """Transformers fills missing weights with random numbers and only logs it."""
    missing = sorted(info["missing_keys"])
    if missing:
        raise model_invalid(
            f"the weights lack {len(missing)} tensors that config.json asks for, {missing[0]} first",
            "upload all *.safetensors files of the model and their index",
        )


@torch.no_grad()
def _require_plain_head(model: Any) -> None:
    """The loss applies the head itself; a model that scales or caps its logits would be trained wrongly in silence."""
    decoder, head = decoder_and_head(model)
    probe = torch.arange(8, device=model.device)[None]
    expected = model(input_ids=probe, use_cache=False).logits
    found = head(decoder(input_ids=probe, use_cache=False).last_hidden_state)
    if not torch.allclose(found.float(), expected.float(), rtol=1e-3, atol=1e-3):
        raise model_invalid(
            f"{type(model).__name__} changes its logits after the output layer, which this trainer does not support",
            "choose a base model of another architecture (Llama, Qwen and Mistral families work)",
        )


def _check_targets(base: Any, targets: list[str]) -> None:
    head = base.get_output_embeddings() or getattr(base, SCORE)
    linear = [name for name, module in base.named_modules() if isinstance(module, nn.Linear) and module is not head]
    unknown = [target for target in targets if not any(f".{name}".endswith(f".{target}") for name in linear)]
    if unknown:
        available = sorted({name.rpartition(".")[2] for name in linear})
        raise SettingsError(
            reason=Reason.SETTINGS_INVALID,
            message=f"method.lora.targetModules: {', '.join(unknown)} cannot get an adapter in this base model",
            advice=f"choose from {', '.join(available)}, or all-linear",
        )
