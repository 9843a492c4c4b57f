"""Packed against padded: real tokens trained a second on the CPU, for three spreads of row lengths.

    python examples/base_model.py MODEL && python -m benchmarks.packing MODEL

Both sides are this trainer's own loop, LoRA on every linear layer, float32, the same steps of the same rows and the
same token budget of a micro-batch. Each spread is measured in turns and the best turn counts. On a machine that does
other work too, count CPU seconds and use one thread (`OMP_NUM_THREADS=1`).

SmolLM2-135M-Instruct, one thread, real tokens a CPU second, `--tokens 2048 --micro-batch 1024 --turns 2`:

    row lengths              padding   padded   packed
    all of 128                   0 %      138      139
    32 to 224                   13 %      124      137
    log-normal, median 60       25 %      103      129
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from finetune_trainer.data.encode import Tokenized
from finetune_trainer.data.item import Item
from finetune_trainer.data.plan import micro_batches, plan_steps
from finetune_trainer.data.problems import Source
from finetune_trainer.hyperparameters import Hyperparameters
from finetune_trainer.loop import train
from finetune_trainer.methods.attach import attach
from finetune_trainer.methods.settings import MethodSettings
from finetune_trainer.model import load_base
from finetune_trainer.objectives.language import LanguageTask

Draw = Callable[[torch.Generator], int]


def uniform(low: int, high: int) -> Draw:
    return lambda generator: int(torch.randint(low, high + 1, (1,), generator=generator))


def skewed(generator: torch.Generator) -> int:
    """Most rows short, a few long, as conversations are: log-normal with a median of 60 tokens."""
    return int(torch.randn((), generator=generator).mul(0.9).add(4.1).exp().clamp(8, 512))


SPREADS: dict[str, Draw] = {
    "all of 128": uniform(128, 128),
    "32 to 224": uniform(32, 224),
    "log-normal, median 60": skewed,
}


CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def make_task(draw: Draw, tokens: int, vocabulary: int) -> LanguageTask:
    """Random rows of `tokens` tokens in all, the second half of each supervised."""
    generator = torch.Generator().manual_seed(0)
    items: list[Item] = []
    while sum(item.length for item in items) < tokens:
        length = draw(generator)
        ids = torch.randint(3, vocabulary, (length,), generator=generator).tolist()
        weights = [float(index >= length // 2) for index in range(length)]
        items.append(Item((Tokenized(ids, weights, Source("random", len(items) + 1)),)))
    return LanguageTask(items)


def measure(model: torch.nn.Module, task: LanguageTask, settings: Hyperparameters, clock: Callable[[], float]) -> float:
    """Real tokens a second over the steps of one epoch; the start of the loop and its probe are not counted."""
    plan = plan_steps(
        task.lengths, seed=0, epochs=1, max_steps=None, tokens_per_step=settings.tokens_per_step
    )  # fmt: skip
    return train(
        model=model, task=task, validation=None, settings=settings, plan=plan, state=None, on_log=lambda _: None,
        should_stop=lambda: False, on_checkpoint=lambda _: None, every_steps=10**6, clock=clock,
    ).tokens_per_second  # fmt: skip


def padding(task: LanguageTask, settings: Hyperparameters) -> float:
    """Share of padded micro-batches that is padding."""
    (step,) = plan_steps(task.lengths, seed=0, epochs=1, max_steps=None, tokens_per_step=10**9)
    batches = micro_batches(step, task.lengths, settings.micro_batch_tokens or 0)
    space = sum(len(batch) * max(task.lengths[row] for row in batch) for batch in batches)
    return 1 - sum(task.lengths) / space


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, help="model directory")
    parser.add_argument("--tokens", type=int, default=4096, help="real tokens of each measurement")
    parser.add_argument("--step", type=int, default=2048, help="tokens of an optimiser step")
    parser.add_argument("--micro-batch", type=int, default=1024, help="tokens of a micro-batch")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    arguments = parser.parse_args()

    common = {
        "learning_rate": 1e-4, "epochs": 1.0, "tokens_per_step": arguments.step, "max_tokens": 512,
        "micro_batch_tokens": arguments.micro_batch,
    }  # fmt: skip
    settings = {mode: Hyperparameters(packing=mode, **common) for mode in ("off", "auto")}
    base = load_base(arguments.model, dtype=torch.float32, device=torch.device("cpu"))
    model = attach(base, MethodSettings(), settings["off"])
    table = Table(
        title=f"{arguments.model.name}, {torch.get_num_threads()} threads: "
        f"real tokens a second ({arguments.clock}), best turn"
    )
    for name in ("row lengths", "padding", "padded", "packed", "packed / padded"):
        table.add_column(name, justify="left" if name == "row lengths" else "right")
    for name, draw in SPREADS.items():
        task = make_task(draw, arguments.tokens, base.config.vocab_size)
        turns = [
            [measure(model, task, settings[mode], CLOCKS[arguments.clock]) for mode in ("off", "auto")]
            for _ in range(arguments.turns)
        ]
        padded, packed = map(max, zip(*turns, strict=True))
        share = f"{padding(task, settings['off']):.0%}"
        table.add_row(name, share, f"{padded:.0f}", f"{packed:.0f}", f"{packed / padded:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
