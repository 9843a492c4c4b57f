"""What a base model's directory must hold, and its tokenizer; checked by preflight too, so torch is not imported.

Weights are safetensors or refused: a pickle runs code when it is read. Code that comes with a model is never run.
"""

import json
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any, Final

from finetune_api.conditions import Reason
from finetune_trainer.errors import SettingsError

WEIGHTS_INDEX: Final = "model.safetensors.index.json"
"""Says which file holds which tensor."""
_PICKLED: Final = (".bin", ".pt", ".pth", ".ckpt")


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


def check_weights_index(directory: Path, model: str) -> None:
    """Check what the index of a local model directory, if it has one, names; `model` is how the user names it.

    Transformers reads any file that stands there, wherever it lies, and takes one by another ending for a pickle.

    Raises:
        SettingsError: it names something else than safetensors files beside it.

    """
    path = directory / WEIGHTS_INDEX
    try:
        named = set(json.loads(path.read_bytes())["weight_map"].values()) if path.exists() else set()
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise model_invalid(f"{model} has a broken {WEIGHTS_INDEX} ({first_line(error)})", "upload it anew") from None
    strange = sorted(str(name) for name in named if not re.fullmatch(r"[^/\\]+\.safetensors", str(name)))
    if strange:
        raise model_invalid(
            f"{model} has a {WEIGHTS_INDEX} that names {strange[0]!r}, which is no safetensors file beside it",
            "save the model with model.save_pretrained(directory) of transformers and upload that",
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


def require_context(limit: int | None, longest: int) -> None:
    """Check that sequences of `longest` tokens fit a model that takes `limit`; where that is unknown they do.

    Raises:
        SettingsError: they are longer than the positions that it was trained on.

    """
    if limit is not None and longest > limit:
        raise SettingsError(
            reason=Reason.SETTINGS_INVALID,
            message=f"the longest sequence has {longest} tokens, the base model takes {limit}",
            advice=f"set data.maxTokens to at most {limit} less evaluation.maxNewTokens, or evaluation.fewShot lower",
        )


def model_invalid(message: str, advice: str) -> SettingsError:
    """The error for a directory that is no usable model."""
    return SettingsError(reason=Reason.MODEL_INVALID, message=message, advice=advice)


def first_line(error: Exception) -> str:
    """An error of a library in one line of at most 300 characters."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__


def context_length(directory: Path) -> int | None:
    """Tokens that the model takes at once, by its config.json; None where that does not say."""
    try:
        config = json.loads((directory / "config.json").read_text())
    except ValueError as error:
        raise model_invalid(f"config.json is no JSON: {first_line(error)}", "upload it anew") from None
    sections = [config, config.get("text_config")] if isinstance(config, dict) else []
    for section in sections:
        for name in ("max_position_embeddings", "n_positions"):
            length = section.get(name) if isinstance(section, dict) else None
            if isinstance(length, int) and length > 0:
                return length
    return None
