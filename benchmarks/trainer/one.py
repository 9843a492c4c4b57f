"""One contender in a process of its own: `python -m benchmarks.trainer.one ours --model DIR` prints a line of JSON."""

# ruff: noqa: E402  the clock starts before torch is imported, and what is set counts when it is
import argparse
import json
import os
import time

START = time.perf_counter()

os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_VERBOSITY="error", TOKENIZERS_PARALLELISM="false")

import torch

from benchmarks.trainer.ceiling import matrix_rate, operations_per_token
from benchmarks.trainer.contenders import contender
from benchmarks.trainer.turns import Stopwatch
from benchmarks.trainer.work import add_arguments, peak_memory, synchronize, work_from


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("contender", help="see contenders.py; or ceiling")
    parser.add_argument("--seconds", type=float, default=5, help="of the ceiling's matrix products")
    parser.add_argument("--by-turns", action="store_true", help="wait for a line on the input before each step")
    add_arguments(parser)
    options = parser.parse_args()
    work = work_from(options)
    if options.contender == "ceiling":
        rate = matrix_rate(work.device, work.dtype, options.seconds)
        operations = operations_per_token(work.load(), work)
        print(json.dumps({"device": work.device.type, "rate": rate, "operations": operations}))
        return
    watch = Stopwatch(START, synchronize, options.by_turns)
    try:
        losses = contender(options.contender)(work, watch.look)
    except torch.OutOfMemoryError as error:
        print(json.dumps({"contender": options.contender, "out_of_memory": str(error)}))
        return
    peak, rows, size = peak_memory(), work.rows(), work.rows_per_step
    steps = [rows[step * size : (step + 1) * size] for step in range(work.steps + 1)]
    told = {
        "contender": options.contender,
        "first_step_seconds": sum(watch.seconds[:2]),
        "seconds": watch.seconds[2:],
        "tokens": sum(len(ids) for step in steps[1:] for ids, _ in step),
        "supervised": sum(len(ids) - masked for step in steps[1:] for ids, masked in step),
        "losses": losses,
        "peak_bytes": peak,
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
