"""The base model: where it computes, in which precision, and what it is made of."""

from pathlib import Path
from typing import Any, Final, Literal

import torch
from peft import PeftModel
from torch import nn
from transformers import AutoModelForCausalLM

from finetune_api.conditions import Reason
from finetune_trainer.errors import InfrastructureError, StopRequested
from finetune_trainer.methods.quantized import prepare_quantized, quantization
from finetune_trainer.model_files import check_model_files, first_line, model_invalid, require_context
from finetune_trainer.place import Place

Precision = Literal["auto", "float32", "bfloat16"]

_DTYPES: Final = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def resolve_device(gpus: int) -> torch.device:
    """The device for a process of a pod that requested so many GPUs: of several processes, each has its own.

    Raises:
        InfrastructureError: a GPU was requested and is not visible; training on the CPU instead would look like
            success and take weeks.

    """
    if gpus == 0:
        return torch.device("cpu")
    local_rank = Place.here().local_rank
    seen = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if seen <= local_rank:
        raise InfrastructureError(
            reason=Reason.GPU_NOT_VISIBLE,
            message=f"resources.gpus.count is {gpus}, but CUDA sees {seen or 'no GPU'} in the pod",
            advice="check the node's driver and device plugin, and that the driver is not older than the image's CUDA",
        )
    torch.cuda.set_device(local_rank)
    return torch.device("cuda", local_rank)


def resolve_dtype(precision: Precision, device: torch.device) -> torch.dtype:
    """The base model's number format; `auto` is bfloat16 on a GPU and float32 on a CPU, where bfloat16 is slower."""
    if precision == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    return _DTYPES[precision]


def load_base(directory: Path, *, dtype: torch.dtype, device: torch.device, four_bit: bool = False) -> Any:
    """The frozen base model of a local directory, on its device, in evaluation mode; for qlora in 4 bit.

    Raises:
        SettingsError: the directory is no model that can be loaded whole.

    """
    check_model_files({path.name for path in directory.iterdir()}, "the model directory")
    quantized = quantization() if four_bit else None
    try:
        model, info = AutoModelForCausalLM.from_pretrained(
            directory,
            dtype=dtype,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
            quantization_config=quantized,
            device_map={"": device} if quantized else None,
        )
    except (torch.OutOfMemoryError, StopRequested):
        raise
    except Exception as error:
        raise model_invalid(
            f"the base model cannot be loaded: {first_line(error)}",
            "check that model.uri is a complete causal language model that transformers knows without remote code",
        ) from error
    _require_all_weights(info)
    model.requires_grad_(False)
    model = (prepare_quantized(model) if quantized else model.to(device)).eval()
    _require_plain_head(model)
    return model


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
    require_context(getattr(causal_lm(model).config, "max_position_embeddings", None), longest)


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
