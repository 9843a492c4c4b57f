"""How long the two programs take to begin: `python -m benchmarks.start`, with `--model DIR` for another base model.

Of the operator, all that it imports. Of the trainer, its first log line, and where the time goes until it has done its
first steps: a real job whose model and data come from an S3 server on this machine. Each run is a process of its own;
of several the best is judged, since whatever else the machine does only adds. What the imports cost by package, Python
measures (`-X importtime`). The budget of the whole start is for the tiny model and two cores.

2026-11-27, five runs on two cores that did other work too (load 2 to 5):

                              best   all runs                       budget
    operator, imports         1.18   1.41, 1.29, 1.76, 1.60, 1.18   1.5
    trainer, first log line   0.65   0.71, 0.83, 0.92, 0.92, 0.65   10
    trainer, checks           0.66   0.67, 0.69, 0.66, 1.15, 1.43
    trainer, libraries        4.59   5.11, 6.05, 4.59, 6.27, 5.94
    trainer, baseline         0.19   0.34, 0.21, 0.19, 0.60, 1.39
    all other phases          0.33   0.54, 0.42, 0.33, 0.61, 0.75
    trainer, in all           5.77   6.65, 7.36, 5.77, 8.63, 9.50   20
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.table import Table
from s3_server import running
from tiny_model import make_tiny_model
from trainer_run import Bench, add_rows

from benchmarks import PARTS

OPERATOR, LIBRARIES = "import finetune_operator.__main__", "import finetune_trainer.attempt"
BUDGETS = {"operator, imports": 1.5, "trainer, first log line": 10.0, "trainer, in all": 20.0}
COSTS = re.compile(r"^import time:\s+(\d+) \|\s+\d+ \| \s*(\w+)", re.MULTILINE)
ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if not name.startswith(("FINETUNE_", "AWS_"))},
    "PYTHONPATH": os.pathsep.join(PARTS),
}


def python(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *arguments], env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


def import_seconds(statement: str) -> float:
    began = time.perf_counter()
    _, told = (process := python("-c", statement)).communicate()
    assert process.returncode == 0, told
    return time.perf_counter() - began


def first_line_seconds() -> float:
    """Without a work order: it says what is missing, and ends."""
    with tempfile.TemporaryDirectory() as scratch:
        options = [f"--{name}={scratch}" for name in ("work-dir", "credentials-dir")]
        began = time.perf_counter()
        process = python("-m", "finetune_trainer", "train", *options, f"--termination-message-path={scratch}/message")
        assert process.stderr is not None
        line, passed = process.stderr.readline(), time.perf_counter() - began
        process.communicate()
    assert "train begins" in line, line
    return passed


@contextmanager
def trainers(model: Path | None) -> Iterator[Bench]:
    """A server with the model, and a place for trainers."""
    with tempfile.TemporaryDirectory() as home:
        for name in ("s3", "runs", "tiny"):
            Path(home, name).mkdir()
        with running(Path(home, "s3")) as server:
            uri = server.put_directory("models/base", model or make_tiny_model(Path(home, "tiny")))
            yield Bench(server, uri, Path(home, "runs"))


def phases(bench: Bench, name: str) -> dict[str, float]:
    """A job's time until its first steps were told, by phase."""
    bench.put_rows(name, add_rows(60))
    # Every core, as in a pod that asks for them.
    sections = {"training": {"maxSteps": 2}, "resources": {"cpu": str(os.cpu_count())}}
    outcome = bench.start(bench.validated(name, **sections)).wait()
    training = outcome.report.training
    assert training is not None, outcome.output
    return training.start_seconds


def costs(statement: str) -> list[tuple[str, float]]:
    """The packages whose own modules took longest to import, and their seconds."""
    _, told = python("-X", "importtime", "-c", statement).communicate()
    spent: Counter[str] = Counter()
    for microseconds, package in COSTS.findall(told):
        spent[package] += int(microseconds)
    return [(package, each / 1e6) for package, each in spent.most_common(8)]


def report(times: dict[str, list[float]]) -> bool:
    """Print the table; whether the budgets are met."""
    table = Table("", "best, s", "all runs", "budget")
    missed = [name for name, budget in BUDGETS.items() if min(times[name]) > budget]
    for name, each in times.items():
        budget = f"{BUDGETS[name]:g}{', MISSED' if name in missed else ''}" if name in BUDGETS else ""
        table.add_row(name, f"{min(each):.2f}", ", ".join(f"{one:.2f}" for one in each), budget)
    Console(width=120).print(table)
    return not missed


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", type=Path, help="directory of a base model (default: a tiny one)")
    parser.add_argument("--runs", type=int, default=5, help="of each (default: %(default)s)")
    options = parser.parse_args()
    times: dict[str, list[float]] = {}
    with trainers(options.model) as bench:
        for number in range(options.runs):
            seen = {"operator, imports": import_seconds(OPERATOR), "trainer, first log line": first_line_seconds()}
            by_phase = phases(bench, f"start-{number}")
            seen |= {f"trainer, {phase}": seconds for phase, seconds in by_phase.items()}
            for name, seconds in {**seen, "trainer, in all": sum(by_phase.values())}.items():
                times.setdefault(name, []).append(seconds)
    is_met = report(times)
    for name, statement in (("operator", OPERATOR), ("trainer", LIBRARIES)):
        print(f"{name}'s imports:", ", ".join(f"{package} {each:.2f} s" for package, each in costs(statement)))
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the end")
    return int(not is_met)


if __name__ == "__main__":
    sys.exit(main())
