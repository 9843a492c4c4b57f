"""Contenders of the trainer's benchmark compute by turns, and one that fails is told."""

import sys
from pathlib import Path

import pytest
from benchmarks import ROOT
from benchmarks.trainer.turns import by_turns

CHILD = """
import json, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from benchmarks.trainer.turns import Stopwatch
_, root, name, steps, notes = sys.argv
watch = Stopwatch(time.perf_counter(), lambda: None, by_turns=True)
watch.look()
for _ in range(int(steps)):
    with Path(notes).open("a") as file:
        file.write(name)
    watch.look()
print(json.dumps({"name": name, "steps": len(watch.seconds) - 1}))
"""


def child(name: str, steps: int, notes: Path) -> list[str]:
    return [sys.executable, "-c", CHILD, str(ROOT), name, str(steps), str(notes)]


def test_each_does_a_step_and_waits_until_the_others_have_done_theirs(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    told = by_turns([child("a", 3, notes), child("b", 1, notes), child("c", 2, notes)])
    assert told == [{"name": "a", "steps": 3}, {"name": "b", "steps": 1}, {"name": "c", "steps": 2}]
    assert notes.read_text() == "abcaca"


def test_one_that_fails_is_told_with_its_last_words_and_the_others_are_ended(tmp_path: Path) -> None:
    fails = [sys.executable, "-c", "raise SystemExit('no such model')"]
    with pytest.raises(SystemExit, match="no such model"):
        by_turns([child("a", 2, tmp_path / "notes"), fails])
