"""Benchmarks run: each starts from a plain clone, and the trainer's comparison gives all contenders the same work."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

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


HELP = """
import contextlib, runpy, sys
for name in sys.argv[1:]:
    sys.argv = [name, "--help"]
    with contextlib.suppress(SystemExit):
        runpy.run_module(f"benchmarks.{name}", run_name="__main__")
"""
"""In one process, which imports torch once."""


def test_every_benchmark_tells_how_it_is_run() -> None:
    names = [*NAMES, *OF_THE_TRAINER]
    told = run("-c", HELP, *names)
    assert told.returncode == 0, told.stderr
    assert told.stdout.count("usage:") == len(names)


def slow(*case: Any) -> Any:
    """A case that `make test` takes now and then."""
    return pytest.param(*case, marks=pytest.mark.slow(name=f"benchmark: {case}", minutes=0.6))


@pytest.mark.parametrize(
    ("method", "rivals"),
    [
        ("lora", ["stock-flat:2"]),
        slow("lora", ["stock:2", "trl-tuned:2"]),
        slow("lora", ["trl-flat:2"]),
        slow("full", ["stock:2"]),
    ],
)
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
        "--micro-batch=64", "--passes=1", "--seconds=0.1", "--techniques", "0", "1", "4",
    )  # fmt: skip
    assert told.returncode == 0, told.stderr
    rows = [line.split("│") for line in told.stdout.splitlines() if line.startswith("│")]
    assert len(rows) == 3
    assert len({row[6] for row in rows}) == 1, told.stdout
