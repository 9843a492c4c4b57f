"""A trainer speaks before it imports what takes long to, imports no more than its job needs, and times its start."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from finetune_trainer.start_up import StartUp

HEAVY = {"torch", "transformers", "accelerate", "peft", "pyarrow", "datasets", "lm_eval", "tokenizers"}
NOT_NEEDED = {"bitsandbytes", "datasets", "lm_eval", "pandas", "pyarrow", "sklearn", "tensorboard"}


def imported(program: str) -> set[str]:
    """Top-level packages that there are after a program."""
    code = f"{program}\nimport json, sys\nprint(json.dumps([name for name, each in sys.modules.items() if each]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_nothing_large_is_imported_before_the_first_line_of_the_log() -> None:
    assert not imported("import finetune_trainer.command_line") & HEAVY


@pytest.mark.parametrize("command", ["preflight", "train", "cleanup"])
def test_the_first_line_says_what_begins_and_comes_before_anything_is_looked_at(command: str, tmp_path: Path) -> None:
    options = [f"--{name}={tmp_path / name}" for name in ("work-dir", "credentials-dir", "termination-message-path")]
    told = subprocess.run(
        [sys.executable, "-m", "finetune_trainer", command, *options],
        capture_output=True, text=True, check=False, env={k: v for k, v in os.environ.items() if "FINETUNE" not in k},
    )  # fmt: skip
    first, second = told.stderr.splitlines()[:2]
    assert first.endswith(f"INFO {command} begins")
    assert "does not hold a work order" in second


@pytest.mark.parametrize(("method", "more"), [("lora", set()), ("qlora", {"bitsandbytes"})])
def test_training_imports_only_what_its_method_needs(method: str, more: set[str]) -> None:
    hidden = f"from finetune_trainer import libraries\nlibraries.hide_bitsandbytes({method!r})"
    there = imported(f"{hidden}\nimport finetune_trainer.attempt")
    assert there >= {"torch", "peft"}
    assert there & NOT_NEEDED == more


def test_phases_follow_each_other_and_the_first_of_a_name_counts() -> None:
    times = iter([100.0, 101.0, 104.5, 110.0])
    start_up = StartUp(lambda: next(times))
    start_up.ended("libraries")
    start_up.ended("checks")
    start_up.ended("libraries")
    start_up.ended("firstSteps")
    assert start_up.seconds == {"libraries": 1.0, "checks": 3.5, "firstSteps": 5.5}
