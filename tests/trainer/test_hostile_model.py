"""A model directory from somebody who wants his code to run: it does not, whatever file brings it.

Every payload is real and leaves a mark where it runs; a control shows that it would.
"""

import json
import pickle
import shutil
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig

from finetune_api.conditions import Reason
from finetune_trainer.base_model import read_config
from finetune_trainer.errors import SettingsError
from finetune_trainer.fetch import fetch_model
from finetune_trainer.model import load_base
from finetune_trainer.model_files import load_tokenizer
from finetune_trainer.storage import StoredObject


class Payload:
    """Unpickled, it makes a file."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self) -> Any:
        return Path.touch, (self._mark,)


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    """The file that a payload leaves."""
    return tmp_path / "executed"


@pytest.fixture
def model(tiny_model_dir: Path, tmp_path: Path) -> Path:
    """A good model directory, to be spoilt."""
    return Path(shutil.copytree(tiny_model_dir, tmp_path / "uploaded"))


def change(path: Path, **values: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


class Uploaded:
    """A directory as S3 has it, for the trainer's own way of fetching a model."""

    def __init__(self, directory: Path, *more: str) -> None:
        self._directory = directory
        self._more = more
        """Keys that are listed too; nobody has to download them."""

    def list_objects(self, prefix: str) -> list[StoredObject]:
        names = [path.name for path in self._directory.iterdir()]
        return [StoredObject(prefix + name, 1) for name in sorted([*names, *self._more])]

    def download(self, objects: list[StoredObject], directory: Path) -> list[Path]:
        directory.mkdir()
        return [Path(shutil.copy(self._directory / item.name, directory)) for item in objects]


def load(uploaded: Path, *more: str) -> Path:
    """Everything that preflight and training do with a base model; where it was put."""
    storage: Any = Uploaded(uploaded, *more)
    directory = fetch_model(storage, "s3://models/base", uploaded.parent, weights=True)
    # In the pod it is on another disk, by no name that its files could know.
    assert directory != uploaded
    load_tokenizer(directory)
    read_config(directory)
    load_base(directory, dtype=torch.float32, device=torch.device("cpu"))
    return directory


def test_the_payload_is_live(mark: Path) -> None:
    """In a process of its own, which does nothing else."""
    code = "import pickle, sys; pickle.loads(bytes.fromhex(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", code, pickle.dumps(Payload(mark)).hex()], check=True)
    assert mark.exists()


def pickled_weights_alone(model: Path, payload: bytes) -> None:
    (model / "model.safetensors").unlink()
    (model / "pytorch_model.bin").write_bytes(payload)


def a_pickle_by_a_safe_name(model: Path, payload: bytes) -> None:
    (model / "model.safetensors").write_bytes(payload)


def a_pickle_by_an_index(model: Path, payload: bytes, name: str = "pytorch_model.bin") -> None:
    (model / "model.safetensors").rename(model / "other.safetensors")
    (model.parent / "rows.jsonl").write_bytes(payload)
    (model / "pytorch_model.bin").write_bytes(payload)
    index = {"metadata": {}, "weight_map": {"lm_head.weight": name}}
    (model / "model.safetensors.index.json").write_text(json.dumps(index))


def a_data_set_by_an_index(model: Path, payload: bytes) -> None:
    a_pickle_by_an_index(model, payload, name="../rows.jsonl")


@pytest.mark.parametrize(
    "spoil", [pickled_weights_alone, a_pickle_by_a_safe_name, a_pickle_by_an_index, a_data_set_by_an_index]
)
def test_a_pickle_is_refused_and_not_read(model: Path, mark: Path, spoil: Any) -> None:
    spoil(model, pickle.dumps(Payload(mark)))
    with pytest.raises(SettingsError) as refused:
        load(model)
    assert refused.value.reason == Reason.MODEL_INVALID
    assert not mark.exists()


def test_a_pickle_beside_safe_weights_is_left_alone(model: Path, mark: Path) -> None:
    for name in ("pytorch_model.bin", "adapter_model.bin", "training_args.bin", "tokenizer.pkl"):
        (model / name).write_bytes(pickle.dumps(Payload(mark)))
    assert not {path.suffix for path in load(model).iterdir()} & {".bin", ".pkl"}
    assert not mark.exists()


CODE = """
from pathlib import Path
Path({mark!r}).touch()
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

# Trusted, a class is marked for good: not one that other tests use.
class Config(LlamaConfig): pass
class Model(LlamaForCausalLM): pass
class Tokenizer(PreTrainedTokenizerFast): pass
"""


@pytest.mark.parametrize("known", [True, False], ids=["a known architecture", "an architecture of its own"])
def test_code_that_comes_with_a_model_does_not_run(model: Path, mark: Path, known: bool) -> None:
    (model / "own.py").write_text(CODE.format(mark=str(mark)))
    classes = {"AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Model"}
    change(model / "config.json", auto_map=classes, **({} if known else {"model_type": "own"}))
    change(model / "tokenizer_config.json", auto_map={"AutoTokenizer": ["own.Tokenizer", "own.Tokenizer"]})
    with nullcontext() if known else pytest.raises(SettingsError, match="contains custom code"):
        assert not list(load(model).glob("*.py"))
    assert not mark.exists()


def test_that_code_would_run_if_it_were_trusted(model: Path, mark: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(mark.parent / "modules"))
    (model / "own.py").write_text(CODE.format(mark=str(mark)))
    change(model / "config.json", auto_map={"AutoConfig": "own.Config"}, model_type="own")
    AutoConfig.from_pretrained(model, trust_remote_code=True)
    assert mark.exists()


def test_only_known_files_of_the_directory_itself_are_downloaded(model: Path) -> None:
    strange = ("..", "../config.json", "sub/config.json", "a/../tokenizer.json", "x\n.py", "tokenizer.json/", "own.so")
    assert {path.name for path in load(model, *strange).iterdir()} == {path.name for path in model.iterdir()}
