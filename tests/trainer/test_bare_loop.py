"""The loop, its benchmark and the tests on a GPU run where little more than torch, transformers and peft is."""

import json
from pathlib import Path

import pytest
from bare_machine import bare_python
from tiny_model import make_tiny_model

MISSING = (
    "bitsandbytes", "boto3", "botocore", "datasets", "flash_attn", "jinja2", "joblib", "kernels",
    "kopf", "kubernetes", "liger_kernel", "lm_eval", "pandas", "pyarrow", "pydantic", "scipy", "sklearn", "trl",
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bare")


def test_a_run_is_resumed_there_to_the_same_bytes(folder: Path) -> None:
    told = bare_python(folder, "tests/support/bare_run.py", *MISSING)
    assert told.returncode == 0, told.stderr
    found = json.loads(told.stdout.splitlines()[-1])
    assert found["there"] == []
    assert 0 < found["stopped_after"] < 6
    assert found["resumed"] == found["whole"]


def test_the_benchmark_runs_there(folder: Path) -> None:
    make_tiny_model(folder / "model")
    told = bare_python(
        folder, "-m", "benchmarks.trainer", f"--model={folder / 'model'}", "--rivals", "stock:2", "--rounds=1",
        "--steps=2", "--rows-per-step=4", "--longest=32", "--seconds=0.1", f"--raw={folder / 'raw.jsonl'}",
    )  # fmt: skip
    assert "times stock:2" in told.stdout, told.stderr
    ours, stock = (json.loads(line) for line in (folder / "raw.jsonl").read_text().splitlines())
    assert ours["losses"] == pytest.approx(stock["losses"], rel=1e-4)


def test_the_tests_on_a_gpu_are_found_there(folder: Path) -> None:
    """On a machine without one they are skipped."""
    told = bare_python(
        folder, "-m", "pytest", "-c", "tests/gpu/pytest.ini", "tests/gpu", "-q", "-p", "no:cacheprovider"
    )
    assert told.returncode == 0, told.stdout + told.stderr
