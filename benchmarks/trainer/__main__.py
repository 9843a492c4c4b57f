"""Ours against stock transformers + PEFT and TRL, side by side: real tokens a second, memory, share of the ceiling.

    python examples/base_model.py MODEL && python -m benchmarks.trainer --model MODEL
    python -m benchmarks.trainer --model 1b --longest 4096 --rows-per-step 64 --micro-batch 16384   # on a GPU

All train the same random rows in the same steps, LoRA of rank 16 on every linear layer or, with --method full, all
weights. Padding never counts. Each measurement is a process of its own. On a CPU, whose speed other work changes from
minute to minute, ours and one rival compute by turns, a step each, and the ratio is that of a step's seconds; on a GPU,
which has no memory for two, one measurement follows the other. The median step of all rounds counts. Stock and tuned
TRL are given several batch sizes, and the best of them is what ours is judged by, in speed and memory. Raw lines go to
the file named by --raw.

It runs from a clone, with torch, transformers, accelerate and peft alone; TRL takes part where it is installed. The
tests that need a GPU run there too, with pytest: see tests/gpu.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from benchmarks.trainer.turns import by_turns, module
from benchmarks.trainer.work import add_arguments, work_arguments

STOCK: Final = ("stock:1", "stock:4", "stock-flat:4")
RIVALS: Final = (*STOCK, "trl", "trl-tuned:4", "trl-flat:4") if find_spec("trl") else STOCK
BUDGETS: Final = {
    "cpu": {"stock": 1.5, "stock-flat": 1.0, "trl": 1.5, "trl-tuned": 1.1, "trl-flat": 1.1},
    "cuda": {"stock": 2.5, "stock-flat": 1.0},
}
"""How many times as fast ours should be, by device; on a GPU, on lengths that are mixed."""
OURS: Final = "ours"
SAME_START: Final = ("stock", "stock-flat")
"""Those with our first weights, rows and precision. TRL draws other adapters, and is by default in bfloat16."""
Round = dict[str, dict[str, Any]]
"""Measurements that are compared with each other, by contender."""
AGREE: Final = 0.01
"""Losses of steps may differ by so much; those of random tokens are near 12."""


def main() -> int:
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").splitlines()[0], epilog="python -m benchmarks.trainer.one runs a single one."
    )
    add_arguments(parser)
    parser.add_argument("--rivals", nargs="*", default=RIVALS, help="default: %(default)s")
    parser.add_argument("--rounds", type=int, default=2, help="measurements of each rival (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=5, help="of the matrix rate's measurement; 30 on a GPU")
    parser.add_argument("--rate", type=float, help="the matrix rate, operations a second, of an earlier run here")
    parser.add_argument("--raw", type=Path, help="file that gets a line of JSON per measurement")
    options, others = parser.parse_args(), work_arguments(sys.argv[1:])
    (chip,) = by_turns([module("one", "ceiling", *others, f"--seconds={0 if options.rate else options.seconds}")])
    rate = options.rate or chip["rate"]
    rounds: list[Round] = []
    for names in _groups(options.rivals, chip["device"]) * options.rounds:
        measured = _measure(names, others, chip["device"])
        for name, told in measured.items():
            found = "does not fit" if "out_of_memory" in told else f"{_rate(told):.1f} tokens/s"
            print(f"{name}: {found}", file=sys.stderr)
            if options.raw:
                with options.raw.open("a") as raw:
                    print(json.dumps(told), file=raw)
        rounds.append({name: told for name, told in measured.items() if "tokens" in told})
    console = Console(width=120)
    console.print(_table([OURS, *options.rivals], rounds, rate, rate / chip["operations"]))
    return _judge(console, options.rivals, rounds, BUDGETS[chip["device"]])


def _groups(rivals: Sequence[str], device: str) -> list[list[str]]:
    """Who is measured in one round."""
    return [[OURS, *rivals]] if device == "cuda" or not rivals else [[OURS, rival] for rival in rivals]


def _measure(names: list[str], arguments: list[str], device: str) -> Round:
    if device == "cuda":
        told = [each for name in names for each in by_turns([module("one", name, *arguments)])]
    else:
        told = by_turns([module("one", name, *arguments, "--by-turns") for name in names])
    return dict(zip(names, told, strict=True))


def _rate(told: dict[str, Any]) -> float:
    return float(told["tokens"] / sum(told["seconds"]))


def _peak(told: list[dict[str, Any]]) -> float:
    return statistics.median(each["peak_bytes"] for each in told)


def _ratios(rounds: list[Round], rival: str) -> list[float]:
    """How many times as fast as a rival ours did each step."""
    both = [(each[OURS]["seconds"], each[rival]["seconds"]) for each in rounds if OURS in each and rival in each]
    return [theirs / ours for pair in both for ours, theirs in zip(*pair, strict=True)]


def _table(names: list[str], rounds: list[Round], rate: float, ceiling: float) -> Table:
    table = Table(title=f"{rate:.3g} operations/s, ceiling {ceiling:,.0f} tokens/s")
    columns = ("tokens/s", "spread", "supervised/s", "of ceiling", "peak MB", "first step s", "last loss", "ours is")
    for name in ("", *columns):
        table.add_column(name, justify="right" if name else "left")
    for name in names:
        told = [each[name] for each in rounds if name in each]
        if not told:
            table.add_row(name, "does not fit")
            continue
        rates = list(map(_rate, told))
        speed, share = statistics.median(rates), told[0]["supervised"] / told[0]["tokens"]
        first = statistics.median(each["first_step_seconds"] for each in told)
        ratios = [] if name == OURS else _ratios(rounds, name)
        table.add_row(
            name, f"{speed:,.1f}", f"{min(rates):,.0f}-{max(rates):,.0f}", f"{speed * share:,.1f}",
            f"{speed / ceiling:.0%}", f"{_peak(told) / 1e6:,.0f}", f"{first:.1f}", f"{told[0]['losses'][-1]:.4f}",
            f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})" if ratios else "",
        )  # fmt: skip
    return table


def _judge(console: Console, rivals: Sequence[str], rounds: list[Round], budgets: dict[str, float]) -> int:
    missed = 0
    for kind, wanted in budgets.items():
        ratios = {
            name: statistics.median(found)
            for name in rivals
            if name.partition(":")[0] == kind and (found := _ratios(rounds, name))
        }
        if not ratios:
            continue
        best = min(ratios, key=lambda name: ratios[name])
        ours, theirs = ([each[name] for each in rounds if name in each] for name in (OURS, best))
        memory = _peak(ours) / _peak(theirs)
        judged = {
            f"{ratios[best]:.2f} times {best}, at least {wanted}": ratios[best] >= wanted,
            f"{memory:.2f} of its memory, at most 1": memory <= 1,
        }
        if kind in SAME_START:
            apart = max(abs(one - other) for one, other in zip(ours[0]["losses"], theirs[0]["losses"], strict=True))
            judged[f"losses within {apart:.4f} of its own, at most {AGREE}"] = apart <= AGREE
        for told, met in judged.items():
            console.print(f"{'met   ' if met else 'MISSED'}  {told}")
        missed += list(judged.values()).count(False)
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
