"""Answers in batches against one prompt at a time, and labels on one pass of their prompt against rows apart.

    python examples/base_model.py MODEL && python -m benchmarks.evaluation MODEL

24 fixed prompts of 64 tokens, 64 new tokens each, greedy, float32; then 24 rows of 64 tokens with 8 labels. Both sides
are this trainer's own code. Each is measured in turns and the best turn counts. Answers that differ are shown with the
lead that the chosen token had at the place where they part: where it is within rounding, the order of sums decided.
On a machine that does other work too, count CPU seconds and use one thread (`--clock cpu`, `OMP_NUM_THREADS=1`).

SmolLM2-135M-Instruct, two cores with nothing else to do, 2 threads, wall time, one turn (2026-11-27):

    answers, 24 prompts      one at a time 122.9    24 at once 13.0               9.4 times
    labels, 24 rows of 8     rows apart     24.4    one pass of the prompt 5.6    4.3 times, its check of a row included

None of the 24 answers differed; losses of labels differed by 2.7e-5 at most, of sums of some tens.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from transformers import AutoTokenizer

from finetune_trainer.data.encode import Tokenized
from finetune_trainer.data.problems import Source
from finetune_trainer.evaluate.branches import score_branches
from finetune_trainer.evaluate.generate import Answer, generate
from finetune_trainer.evaluate.score import score
from finetune_trainer.model import load_base

PROMPTS, PROMPT_TOKENS, NEW_TOKENS, LABELS = 24, 64, 64, 8
TEXT = Path(__file__).parents[1] / "LICENSE"
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def make_prompts(tokenizer: Any) -> list[list[int]]:
    """Pieces of a long text, the same on every machine."""
    tokens = tokenizer(TEXT.read_text()).input_ids
    return [tokens[start : start + PROMPT_TOKENS] for start in range(0, PROMPTS * PROMPT_TOKENS, PROMPT_TOKENS)]


def answer(model: Any, prompts: list[list[int]], batch_size: int, unused: int) -> list[Answer]:
    """Answers that all run to the limit: `unused` is a token that no answer holds."""
    return generate(
        model, prompts, max_new_tokens=NEW_TOKENS, stop_ids=frozenset({unused}), batch_size=batch_size,
        on_batch=lambda _rows: None, on_token=lambda: None,
    )  # fmt: skip


def best(turns: int, clock: Callable[[], float], sides: dict[str, Callable[[], Any]]) -> dict[str, tuple[float, Any]]:
    """The fewest seconds of each side, and its result; the sides take turns."""
    found: dict[str, tuple[float, Any]] = {}
    for _ in range(turns):
        for name, run in sides.items():
            start = clock()
            result = run()
            seconds = clock() - start
            if name not in found or seconds < found[name][0]:
                found[name] = (seconds, result)
    return found


@torch.inference_mode()
def lead(model: Any, tokens: list[int]) -> float:
    """Logit of the likeliest next token less that of the second."""
    first, second = model(torch.tensor(tokens)[None]).logits[0, -1].topk(2).values.tolist()
    return first - second


def differences(model: Any, prompts: list[list[int]], one: list[Answer], other: list[Answer]) -> list[str]:
    """A line for each pair of answers that differ."""
    lines = []
    for index, (prompt, mine, theirs) in enumerate(zip(prompts, one, other, strict=True)):
        pairs = enumerate(zip(mine.token_ids, theirs.token_ids, strict=True))
        place = next((at for at, (a, b) in pairs if a != b), None)
        if place is not None:
            gap = lead(model, [*prompt, *mine.token_ids[:place]])
            lines.append(f"prompt {index} parts at new token {place}, where the first choice led by {gap:.1e}")
    return lines


def label_rows(prompts: list[list[int]]) -> list[list[Tokenized]]:
    """Each prompt with `LABELS` labels of two tokens."""
    weights = [0.0] * PROMPT_TOKENS + [1.0] * 2
    return [
        [Tokenized([*prompt, 100 + label, 2], weights, Source("fixed", index)) for label in range(LABELS)]
        for index, prompt in enumerate(prompts)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, help="model directory")
    parser.add_argument("--batch", type=int, default=PROMPTS, help="prompts answered at once")
    parser.add_argument("--batch-tokens", type=int, default=2048, help="padded tokens scored at once")
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    arguments = parser.parse_args()

    model = load_base(arguments.model, dtype=torch.float32, device=torch.device("cpu"))
    tokenizer = AutoTokenizer.from_pretrained(arguments.model)
    prompts, unused = make_prompts(tokenizer), len(tokenizer) - 1
    rows = label_rows(prompts)
    apart = [sequence for row in rows for sequence in row]
    clock, turns = CLOCKS[arguments.clock], arguments.turns

    answers = best(
        turns, clock,
        {"one at a time": lambda: answer(model, prompts, 1, unused),
         f"{arguments.batch} at once": lambda: answer(model, prompts, arguments.batch, unused)},
    )  # fmt: skip
    labels = best(
        turns, clock,
        {"rows apart": lambda: [loss.total for loss in score(model, apart, arguments.batch_tokens)],
         "one pass of the prompt": lambda: score_branches(model, rows, arguments.batch_tokens, lambda _: None)},
    )  # fmt: skip

    table = Table(title=f"{arguments.model.name}, float32, {torch.get_num_threads()} threads ({arguments.clock} time)")
    for name in ("what", "seconds", "a second", "speed-up"):
        table.add_column(name, justify="left" if name == "what" else "right")
    for what, count, sides in (("answers", PROMPTS * NEW_TOKENS, answers), ("labels", len(apart), labels)):
        first = next(iter(sides.values()))[0]
        for name, (seconds, _) in sides.items():
            table.add_row(f"{what}, {name}", f"{seconds:.1f}", f"{count / seconds:.1f}", f"{first / seconds:.2f}")
    console = Console(width=100)
    console.print(table)
    one, other = (result for _, result in answers.values())
    lines = differences(model, prompts, one, other)
    console.print(f"{len(lines)} of {PROMPTS} answers differ", *lines, sep="\n")
    plain, together = (torch.as_tensor(result, dtype=torch.float64).view(-1) for _, result in labels.values())
    console.print(f"losses of labels differ by at most {float((plain - together).abs().max()):.1e}")


if __name__ == "__main__":
    main()
