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
PACKAGES = ["trainer", "trainer.one", "trainer.profile"]
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
"""A plain clone's."""


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], check=False, capture_output=True, text=True, cwd=ROOT, env=ENVIRONMENT
    )


@pytest.mark.parametrize(
    "command",
    [*([f"benchmarks/{script}.py"] for script in SCRIPTS), *(["-m", f"benchmarks.{name}"] for name in PACKAGES)],
    ids=[*SCRIPTS, *PACKAGES],
)
def test_every_benchmark_tells_how_it_is_run(command: list[str]) -> None:
    told = run(*command, "--help")
    assert told.returncode == 0, told.stderr
    assert "usage" in told.stdout


@pytest.mark.parametrize(
    ("method", "rivals"), [("lora", ["stock:2", "stock-flat:2", "trl-tuned:2", "trl-flat:2"]), ("full", ["stock:2"])]
)
def test_contenders_of_the_trainers_benchmark_learn_the_same(method: str, rivals: list[str], tmp_path: Path) -> None:
    make_tiny_model(tmp_path / "model")
    raw = tmp_path / "raw.jsonl"
    told = run(
        "-m", "benchmarks.trainer", f"--model={tmp_path / 'model'}", "--contenders", "ours", *rivals, "--turns=1",
        "--steps=2", "--rows-per-step=4", "--longest=32", "--seconds=0.1", f"--method={method}", f"--raw={raw}",
    )  # fmt: skip
    assert raw.exists(), told.stderr
    measured = {each["contender"]: each for each in map(json.loads, raw.read_text().splitlines())}
    assert list(measured) == ["ours", *rivals]
    ours = measured["ours"]
    assert ours["tokens"] > ours["supervised"] > 0
    for name, rival in measured.items():
        assert (len(rival["seconds"]), rival["tokens"]) == (2, ours["tokens"])
        if name.startswith("stock"):
            assert rival["losses"] == pytest.approx(ours["losses"], rel=1e-4)
    assert f"times {rivals[0]}" in told.stdout
