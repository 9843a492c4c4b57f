"""Where the time of a micro-batch goes, with each technique of ours and without.

    python -m benchmarks.trainer.profile --model 1b --longest 4096 --rows-per-step 20 --micro-batch 16384

The rows of one step go forward and backward, again and again; no optimiser. A row of the table has what those above it
have and one technique more, but for the last one. Each is a process of its own, and on a CPU they take turns, a pass
each. The kernels of a pass are sorted by what they do; "waits" is the time in which the device computes nothing.
"""

import argparse
import contextlib
import json
import re
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from rich.console import Console
from rich.table import Table
from torch.profiler import ProfilerActivity, profile

from benchmarks.trainer.contenders import IGNORED, items, settings_of
from benchmarks.trainer.turns import Stopwatch, by_turns, module
from benchmarks.trainer.work import Work, add_arguments, peak_memory, synchronize, work_arguments, work_from
from finetune_trainer.compiled import compiled_layers
from finetune_trainer.data.encode import Tokenized
from finetune_trainer.data.plan import micro_batches
from finetune_trainer.loss import collate
from finetune_trainer.methods.attach import attach
from finetune_trainer.methods.joined import joined_layers
from finetune_trainer.methods.settings import MethodSettings
from finetune_trainer.objectives.language import sequence_losses
from finetune_trainer.packing import enable_packing

KINDS: Final = {
    "attention": re.compile(r"flash|fmha|attention|sdpa|_attn", re.IGNORECASE),
    "matrices": re.compile(r"gemm|nvjet|cutlass|xmma|cublas|splitK|mkldnn|addmm|::mm", re.IGNORECASE),
    "compiled": re.compile(r"^triton_"),
    "copies": re.compile(r"memcpy|memset|copy", re.IGNORECASE),
}
OTHERS: Final = "element-wise"


@dataclass(frozen=True)
class Technique:
    """A way to compute, as its row is called."""

    name: str
    packed: bool = True
    all_logits: bool = False
    fused: bool = False
    joined: bool = False
    compiled: bool = False
    """Which joins what is in one piece."""


TECHNIQUES: Final = (
    Technique("as transformers and PEFT compute it", packed=False, all_logits=True),
    Technique("packed", all_logits=True),
    Technique("head and loss on supervised tokens"),
    Technique("LoRA in one piece", fused=True),
    Technique("matrices joined", fused=True, joined=True),
    Technique("all of it: layers compiled", fused=True, compiled=True),
    Technique("layers compiled, LoRA of PEFT", compiled=True),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add_arguments(parser)
    parser.add_argument("--passes", type=int, default=5, help="that are measured (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=5, help="of the matrix rate's measurement")
    parser.add_argument("--techniques", nargs="+", default=range(len(TECHNIQUES)), type=int, help="by number, from 0")
    parser.add_argument("--kernels", type=int, default=0, help="list so many of the longest kernels of each")
    parser.add_argument("--only", type=int, help="measure this one here, and print a line of JSON")
    parser.add_argument("--by-turns", action="store_true", help="with --only: wait for a line before each pass")
    options = parser.parse_args()
    work = work_from(options)
    if options.only is not None:
        print(json.dumps(_measured(work, TECHNIQUES[options.only], options)))
        return
    (chip,) = by_turns([module("one", "ceiling", *work_arguments(sys.argv[1:]), f"--seconds={options.seconds}")])
    ceiling = chip["rate"] / chip["operations"]
    table = Table(title=f"{work.model}, {chip['rate'] / 1e12:.3g} TFLOP/s, ceiling {ceiling:,.0f} tokens/s")
    for name in ("", "tokens/s", "of ceiling", "peak MB", "first s", "loss", "ms", *KINDS, OTHERS, "waits"):
        table.add_column(name, justify="right" if name else "left")
    tokens = sum(len(ids) for ids, _ in work.rows()[: work.rows_per_step])
    for number, told in zip(options.techniques, _told(options.techniques, work.device), strict=True):
        table.add_row(TECHNIQUES[number].name, *_row(told, tokens, ceiling))
        for name, spent in told["longest"]:
            print(f"{spent * 1e3:9.3f} ms  {name[:140]}")
    Console(width=180).print(table)


def _told(techniques: Sequence[int], device: torch.device) -> list[dict[str, Any]]:
    """What each technique's process measured: on a CPU by turns, a pass each; a GPU has no memory for several."""
    commands = [module("profile", *sys.argv[1:], f"--only={each}") for each in techniques]
    if device.type == "cuda":
        return [told for command in commands for told in by_turns([command])]
    return by_turns([[*command, "--by-turns"] for command in commands])


def _row(told: dict[str, Any], tokens: int, ceiling: float) -> list[str]:
    seconds, kinds = statistics.median(told["seconds"]), Counter(told["kinds"])
    rate, waits = tokens / seconds, max(0.0, seconds - sum(kinds.values()))
    parts = [seconds, *(kinds[kind] for kind in (*KINDS, OTHERS)), waits]
    return [
        f"{rate:,.0f}", f"{rate / ceiling:.0%}", f"{told['peak_bytes'] / 1e6:,.0f}", f"{told['first']:.1f}",
        f"{told['loss']:.4f}", *(f"{part * 1e3:.1f}" for part in parts),
    ]  # fmt: skip


def _measured(work: Work, technique: Technique, options: argparse.Namespace) -> dict[str, Any]:
    watch = Stopwatch(time.perf_counter(), synchronize, options.by_turns)
    with _training(work, technique) as run:
        watch.look()
        for _ in range(options.passes + 2):
            loss = run()
            watch.look()
        peak = peak_memory()
        kinds, kernels = _kernels(run, work.device)
    return {
        "first": watch.seconds[1], "seconds": watch.seconds[3:], "loss": loss, "peak_bytes": peak, "kinds": kinds,
        "longest": kernels.most_common(options.kernels),
    }  # fmt: skip


@contextlib.contextmanager
def _training(work: Work, technique: Technique) -> Iterator[Callable[[], float]]:
    """A function that takes the rows of a step forward and backward, to their loss."""
    model = attach(
        work.load().requires_grad_(False), MethodSettings(type=work.method), settings_of(work), fused=technique.fused
    )
    model.train()
    enable_packing(model, work.longest)
    rows = [item.sequences[0] for item in items(work)[: work.rows_per_step]]
    lengths = [len(row.token_ids) for row in rows]
    cut = micro_batches(tuple(range(len(rows))), lengths, work.micro_batch, packing=technique.packed)
    losses = _losses_of_all_logits if technique.all_logits else sequence_losses
    weight = sum(row.target_weight for row in rows)

    def run() -> float:
        loss = torch.zeros((), device=work.device)
        for part in cut:
            mean = losses(model, [rows[index] for index in part], packing=technique.packed).sum() / weight
            mean.backward()
            loss += mean.detach()
        return float(loss)

    with contextlib.ExitStack() as ways:
        if technique.compiled:
            ways.enter_context(compiled_layers(model))
        elif technique.joined:
            ways.enter_context(joined_layers(model))
        yield run


def _losses_of_all_logits(model: Any, rows: Sequence[Tokenized], *, packing: bool) -> torch.Tensor:
    """Summed loss through the logits of every token, as transformers computes it."""
    batch = collate(rows, next(model.parameters()).device, packing=packing)
    logits = model(input_ids=batch.token_ids, use_cache=False, **batch.inputs).logits.flatten(0, 1).float()
    labels = torch.full_like(batch.token_ids.flatten(), IGNORED).index_put((batch.positions,), batch.targets)
    return torch.nn.functional.cross_entropy(logits, labels, ignore_index=IGNORED, reduction="sum")


def _kernels(run: Callable[[], float], device: torch.device) -> tuple[Counter[str], Counter[str]]:
    """Seconds of a pass by kind of kernel, and by kernel."""
    on_gpu = device.type == "cuda"
    with profile(activities=[ProfilerActivity.CUDA] if on_gpu else [ProfilerActivity.CPU]) as found:
        run()
    kinds: Counter[str] = Counter()
    kernels: Counter[str] = Counter()
    for event in found.key_averages():
        spent = _spent(event, on_gpu) / 1e6
        kinds[next((kind for kind, named in KINDS.items() if named.search(event.key)), OTHERS)] += spent
        kernels[event.key] += spent
    return kinds, kernels


def _spent(event: Any, on_gpu: bool) -> float:
    return float(event.self_device_time_total if on_gpu else event.self_cpu_time_total)


if __name__ == "__main__":
    main()
