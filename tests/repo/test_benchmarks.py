"""Benchmarks run: every script starts, and the trainer's comparison gives all contenders the same work."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_model import make_tiny_model

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = sorted(path.stem for path in (ROOT / "benchmarks").glob("*.py"))
PARTS = ("operator/src", "trainer_image/src", "tests/support", ".")
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(str(ROOT / part) for part in PARTS)}


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], check=False, capture_output=True, text=True, cwd=ROOT, env=ENVIRONMENT
    )


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_benchmark_tells_how_it_is_run(script: str) -> None:
    told = run(f"benchmarks/{script}.py", "--help")
    assert told.returncode == 0, told.stderr
    assert "usage" in told.stdout


def test_contenders_of_the_trainers_benchmark_learn_the_same(tmp_path: Path) -> None:
    make_tiny_model(tmp_path / "model")
    raw = tmp_path / "raw.jsonl"
    told = run(
        "-m", "benchmarks.trainer", f"--model={tmp_path / 'model'}", "--contenders", "ours", "stock:2", "trl-tuned:2",
        "--turns=1", "--steps=2", "--rows-per-step=4", "--longest=32", "--seconds=0.1", f"--raw={raw}",
    )  # fmt: skip
    assert raw.exists(), told.stderr
    ours, stock, trl = (json.loads(line) for line in raw.read_text().splitlines())
    assert [each["contender"] for each in (ours, stock, trl)] == ["ours", "stock:2", "trl-tuned:2"]
    assert ours["tokens"] == stock["tokens"] == trl["tokens"] > ours["supervised"] > 0
    assert len(ours["seconds"]) == len(stock["seconds"]) == 2
    assert ours["losses"] == pytest.approx(stock["losses"], rel=1e-4)
    assert "times stock:2" in told.stdout
