"""Where the time of a micro-batch goes, with each technique of ours and without.

    python -m benchmarks.trainer.profile --model 1b --longest 4096 --rows-per-step 20 --micro-batch 16384

The rows of one step go forward and backward, again and again, in one process; no optimiser. A row of the table has what
those above it have and one technique more, but for those with all of PEFT's LoRA. The kernels of a pass are sorted by
what they do; "waits" is the time in which the device computes nothing.
"""

import argparse
import contextlib
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from rich.console import Console
from rich.table import Table
from torch.profiler import ProfilerActivity, profile

from benchmarks.trainer.ceiling import matrix_rate, operations_per_token
from benchmarks.trainer.contenders import IGNORED, items, settings_of
from benchmarks.trainer.work import Work, add_arguments, work_from
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
    options = parser.parse_args()
    work = work_from(options)
    rate = matrix_rate(work.device, work.dtype, options.seconds)
    ceiling = rate / operations_per_token(work.load(), work)
    console = Console(width=180)
    table = Table(title=f"{work.model}, {rate / 1e12:.0f} TFLOP/s, ceiling {ceiling:,.0f} tokens/s")
    for name in ("", "tokens/s", "of ceiling", "peak MB", "first s", "loss", "ms", *KINDS, OTHERS, "waits"):
        table.add_column(name, justify="right" if name else "left")
    for number in options.techniques:
        table.add_row(TECHNIQUES[number].name, *_row(work, TECHNIQUES[number], options, ceiling))
        console.print(table)


def _row(work: Work, technique: Technique, options: argparse.Namespace, ceiling: float) -> list[str]:
    torch._dynamo.reset()
    if work.device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    with _training(work, technique) as (run, tokens):
        began = time.perf_counter()
        loss = run()
        first = time.perf_counter() - began
        run()
        times = [_timed(run) for _ in range(options.passes)]
        peak = torch.cuda.max_memory_allocated() if work.device.type == "cuda" else 0
        kinds, kernels = _kernels(run, work.device)
    seconds = sorted(times)[len(times) // 2]
    for name, spent in kernels.most_common(options.kernels):
        print(f"{spent * 1e3:9.3f} ms  {name[:140]}")
    rate = tokens / seconds
    waits = max(0.0, seconds - sum(kinds.values()))
    parts = [*(kinds[kind] for kind in (*KINDS, OTHERS)), waits]
    numbers = [f"{rate:,.0f}", f"{rate / ceiling:.0%}", f"{peak / 1e6:,.0f}", f"{first:.1f}", f"{loss:.4f}"]
    return [*numbers, *(f"{part * 1e3:.1f}" for part in (seconds, *parts))]


@contextlib.contextmanager
def _training(work: Work, technique: Technique) -> Iterator[tuple[Callable[[], float], int]]:
    """A function that takes the rows of a step forward and backward, to their loss, and how many tokens they have."""
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
        if work.device.type == "cuda":
            torch.cuda.synchronize()
        return float(loss)

    with contextlib.ExitStack() as ways:
        if technique.compiled:
            ways.enter_context(compiled_layers(model))
        elif technique.joined:
            ways.enter_context(joined_layers(model))
        yield run, sum(lengths)


def _losses_of_all_logits(model: Any, rows: Sequence[Tokenized], *, packing: bool) -> torch.Tensor:
    """Summed loss through the logits of every token, as transformers computes it."""
    batch = collate(rows, next(model.parameters()).device, packing=packing)
    logits = model(input_ids=batch.token_ids, use_cache=False, **batch.inputs).logits.flatten(0, 1).float()
    labels = torch.full_like(batch.token_ids.flatten(), IGNORED).index_put((batch.positions,), batch.targets)
    return torch.nn.functional.cross_entropy(logits, labels, ignore_index=IGNORED, reduction="sum")


def _timed(run: Callable[[], float]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


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
