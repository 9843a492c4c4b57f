"""What a base model's directory must hold, and its tokenizer; checked by preflight too, so torch is not imported.

Weights are safetensors or refused: a pickle runs code when it is read. Code that comes with a model is never run.
"""

from collections.abc import Collection
from pathlib import Path
from typing import Any

from finetune_api.conditions import Reason
from finetune_trainer.errors import SettingsError

_PICKLED = (".bin", ".pt", ".pth", ".ckpt")


def check_model_files(names: Collection[str], model: str) -> None:
    """Check a listing of a model directory; `model` is how the user names it (its URI).

    Raises:
        SettingsError: config, tokenizer or safetensors weights are missing.

    """
    if "config.json" not in names:
        raise model_invalid(f"{model} holds no config.json", "point model.uri at a Hugging Face model directory")
    if not any(name.endswith(".safetensors") for name in names):
        pickled = sorted(name for name in names if name.endswith(_PICKLED))
        found = f"only pickled weights ({', '.join(pickled[:3])})" if pickled else "no weights"
        raise model_invalid(
            f"{model} holds {found}, but *.safetensors is needed",
            "save the model with model.save_pretrained(directory) of transformers and upload that",
        )
    if "tokenizer.json" not in names and "tokenizer.model" not in names and "vocab.json" not in names:
        raise model_invalid(
            f"{model} holds no tokenizer (tokenizer.json)",
            "save it beside the weights with tokenizer.save_pretrained(directory)",
        )


def load_tokenizer(directory: Path) -> Any:
    """The tokenizer of a local model directory.

    Raises:
        SettingsError: it cannot be loaded.

    """
    from transformers import AutoTokenizer  # noqa: PLC0415  takes a second that `--help` should not

    try:
        return AutoTokenizer.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
    except Exception as error:
        raise model_invalid(
            f"the tokenizer cannot be loaded: {first_line(error)}",
            "check the tokenizer files under model.uri",
        ) from error


def model_invalid(message: str, advice: str) -> SettingsError:
    """The error for a directory that is no usable model."""
    return SettingsError(reason=Reason.MODEL_INVALID, message=message, advice=advice)


def first_line(error: Exception) -> str:
    """An error of a library in one line of at most 300 characters."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__
