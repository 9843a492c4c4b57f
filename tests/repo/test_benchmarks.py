"""Benchmarks run: each starts from a plain clone, and the trainer's comparison gives all contenders the same work."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_model import make_tiny_model

ROOT = Path(__file__).resolve().parents[2]
NAMES = sorted(path.stem for path in (ROOT / "benchmarks").glob("[a-z]*.py"))
OF_THE_TRAINER = ["trainer", "trainer.one", "trainer.profile"]
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
"""A plain clone's."""


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], check=False, capture_output=True, text=True, cwd=ROOT, env=ENVIRONMENT
    )


@pytest.mark.parametrize("name", [*NAMES, *OF_THE_TRAINER])
def test_every_benchmark_tells_how_it_is_run(name: str) -> None:
    told = run("-m", f"benchmarks.{name}", "--help")
    assert told.returncode == 0, told.stderr
    assert "usage" in told.stdout


MORE = pytest.param("lora", ["stock:2", "trl-tuned:2"], marks=pytest.mark.slow(name="more rivals", minutes=1))


@pytest.mark.parametrize(("method", "rivals"), [("lora", ["stock-flat:2", "trl-flat:2"]), MORE, ("full", ["stock:2"])])
def test_contenders_of_the_trainers_benchmark_learn_the_same(method: str, rivals: list[str], tmp_path: Path) -> None:
    make_tiny_model(tmp_path / "model")
    raw = tmp_path / "raw.jsonl"
    told = run(
        "-m", "benchmarks.trainer", f"--model={tmp_path / 'model'}", "--rivals", *rivals, "--rounds=1",
        "--steps=2", "--rows-per-step=4", "--longest=32", "--seconds=0.1", f"--method={method}", f"--raw={raw}",
    )  # fmt: skip
    assert raw.exists(), told.stderr
    measured = [json.loads(line) for line in raw.read_text().splitlines()]
    assert [each["contender"] for each in measured] == [name for rival in rivals for name in ("ours", rival)]
    ours = measured[0]
    assert ours["tokens"] > ours["supervised"] > 0
    for each in measured:
        assert (len(each["seconds"]), each["tokens"]) == (2, ours["tokens"])
        if each["contender"].startswith(("ours", "stock")):
            assert each["losses"] == pytest.approx(ours["losses"], rel=1e-4)
    assert f"times {rivals[0]}" in told.stdout


def test_the_profile_has_a_row_for_each_technique_and_all_compute_the_same_loss(tmp_path: Path) -> None:
    make_tiny_model(tmp_path / "model")
    told = run(
        "-m", "benchmarks.trainer.profile", f"--model={tmp_path / 'model'}", "--longest=32", "--rows-per-step=4",
        "--micro-batch=64", "--passes=1", "--seconds=0.1", "--techniques", *map(str, range(5)),
    )  # fmt: skip
    assert told.returncode == 0, told.stderr
    rows = [line.split("│") for line in told.stdout.rpartition("┏")[2].splitlines() if line.startswith("│")]
    assert len(rows) == 5
    assert len({row[6] for row in rows}) == 1, told.stdout
