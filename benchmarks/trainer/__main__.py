"""Ours against stock transformers + PEFT and TRL, side by side: real tokens a second, memory, share of the ceiling.

    python examples/base_model.py MODEL && python -m benchmarks.trainer --model MODEL
    python -m benchmarks.trainer --model 1b --longest 4096 --rows-per-step 64 --micro-batch 16384   # on a GPU

All train the same random rows in the same steps, LoRA of rank 16 on every linear layer or, with --method full, all
weights. Padding never counts. Each measurement is a process of its own; contenders take turns, and of each the median
turn counts. Stock and tuned TRL are given several batch sizes, and the best of them is what ours is compared with, in
speed and memory. Raw lines go to the file named by --raw.

It runs from a clone, with torch, transformers, accelerate and peft alone; TRL takes part where it is installed. The
tests that need a GPU run there too, with pytest: see tests/gpu.
"""

import argparse
import json
import statistics
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from benchmarks.trainer.work import add_arguments
from rich.console import Console
from rich.table import Table

PLAIN: Final = ("ours", "stock:1", "stock:4", "stock-flat:4")
DEFAULT: Final = (*PLAIN, "trl", "trl-tuned:4", "trl-flat:4") if find_spec("trl") else PLAIN
BUDGETS: Final = {
    "cpu": {"stock": 1.5, "stock-flat": 1.0, "trl": 1.5, "trl-tuned": 1.1, "trl-flat": 1.1},
    "cuda": {"stock": 2.5, "stock-flat": 1.0},
}
"""How many times as fast ours should be, by device; on a GPU, on lengths that are mixed."""
OURS: Final = "ours"
SAME_START: Final = ("stock", "stock-flat")
"""Those with our first weights, rows and precision. TRL draws other adapters, and is by default in bfloat16."""
AGREE: Final = 0.01
"""Losses of steps may differ by so much; those of random tokens are near 12."""


def main() -> int:
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").splitlines()[0], epilog="python -m benchmarks.trainer.one runs a single one."
    )
    add_arguments(parser)
    parser.add_argument("--contenders", nargs="+", default=DEFAULT, help="default: %(default)s")
    parser.add_argument("--turns", type=int, default=3, help="measurements of each (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=5, help="of the matrix rate's measurement; 30 on a GPU")
    parser.add_argument("--rate", type=float, help="the matrix rate, operations a second, of an earlier run here")
    parser.add_argument("--raw", type=Path, help="file that gets a line of JSON per measurement")
    options, others = parser.parse_args(), _work_arguments(sys.argv[1:])
    console = Console(width=120)
    chip = _run("ceiling", [*others, f"--seconds={0 if options.rate else options.seconds}"])
    rate = options.rate or chip["rate"]
    turns: dict[str, list[dict[str, Any]]] = {name: [] for name in options.contenders}
    for turn in range(options.turns):
        for name in options.contenders:
            measured = _run(name, others)
            found = "does not fit" if "out_of_memory" in measured else f"{_rate(measured):.1f} tokens/s"
            print(f"turn {turn + 1} of {options.turns}, {name}: {found}", file=sys.stderr)
            turns[name] += [measured] if "tokens" in measured else []
            if options.raw:
                with options.raw.open("a") as raw:
                    print(json.dumps(measured), file=raw)
    console.print(_table(turns, rate, rate / chip["operations"]))
    return _judge(console, turns, BUDGETS[chip["device"]])


def _work_arguments(arguments: list[str]) -> list[str]:
    """Those of the command line that say what is trained."""
    parser = argparse.ArgumentParser(add_help=False)
    add_arguments(parser)
    options, _ = parser.parse_known_args(arguments)
    return [f"--{name.replace('_', '-')}={value}" for name, value in vars(options).items()]


def _run(name: str, arguments: list[str]) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.trainer.one", name, *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stderr[-3000:]}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def _rate(told: dict[str, Any]) -> float:
    return float(told["tokens"] / sum(told["seconds"]))


def _median(told: list[dict[str, Any]]) -> float:
    return statistics.median(map(_rate, told))


def _peak(told: list[dict[str, Any]]) -> float:
    return statistics.median(each["peak_bytes"] for each in told)


def _table(turns: dict[str, list[dict[str, Any]]], rate: float, ceiling: float) -> Table:
    table = Table(title=f"{rate:.3g} operations/s, ceiling {ceiling:,.0f} tokens/s")
    names = ("", "tokens/s", "turns", "supervised/s", "of ceiling", "peak MB", "first step s", "last loss")
    for name in names:
        table.add_column(name, justify="right" if name else "left")
    for name, told in turns.items():
        if not told:
            table.add_row(name, "does not fit")
            continue
        speed, share = _median(told), told[0]["supervised"] / told[0]["tokens"]
        spread = f"{min(map(_rate, told)):,.0f}-{max(map(_rate, told)):,.0f}"
        peak = _peak(told) / 1e6
        first = statistics.median(each["first_step_seconds"] for each in told)
        loss = f"{told[0]['losses'][-1]:.4f}"
        numbers = (f"{speed:,.1f}", spread, f"{speed * share:,.1f}", f"{speed / ceiling:.0%}", f"{peak:,.0f}")
        table.add_row(name, *numbers, f"{first:.1f}", loss)
    return table


def _judge(console: Console, turns: dict[str, list[dict[str, Any]]], budgets: dict[str, float]) -> int:
    if not turns.get(OURS):
        return 0
    missed = 0
    for kind, wanted in budgets.items():
        rivals = {name: _median(told) for name, told in turns.items() if told and name.partition(":")[0] == kind}
        if not rivals:
            continue
        best = max(rivals, key=lambda name: rivals[name])
        ratio, memory = _median(turns[OURS]) / rivals[best], _peak(turns[OURS]) / _peak(turns[best])
        judged = {
            f"{ratio:.2f} times {best}, at least {wanted}": ratio >= wanted,
            f"{memory:.2f} of its memory, at most 1": memory <= 1,
        }
        if kind in SAME_START:
            apart = max(abs(one - other) for one, other in zip(*_losses(turns, OURS, best), strict=True))
            judged[f"losses within {apart:.4f} of its own, at most {AGREE}"] = apart <= AGREE
        for told, met in judged.items():
            console.print(f"{'met   ' if met else 'MISSED'}  {told}")
        missed += list(judged.values()).count(False)
    return int(missed > 0)


def _losses(turns: dict[str, list[dict[str, Any]]], *names: str) -> list[list[float]]:
    return [turns[name][0]["losses"] for name in names]


if __name__ == "__main__":
    sys.exit(main())
