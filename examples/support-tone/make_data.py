"""Compose the support-tone data set: `python make_data.py [DEST]` writes its splits, always the same bytes.

A row is a customer's message with two answers that differ in one fault. Both keep to the message's subject, and faults
make an answer longer as often as shorter, so neither the subject nor the length tells which one is preferred. Every
second test row has a problem, a product and a phrase of fault that training never shows.
"""

import json
import random
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import vocabulary as words

SEED = 40
# The test rows have a seed of their own, so that they can be drawn anew without touching what is trained on.
TEST_SEED = 41
ROWS = {"train": 54, "validation": 12, "test": 48}

Row = dict[str, str]


@dataclass(frozen=True)
class Wording:
    """The pieces that rows may be composed from."""

    problems: list[words.Problem]
    products: list[str]
    vague: list[str]
    padding: list[str]
    slang: list[str]
    cold: list[str]
    gush: list[str]


SEEN = Wording(words.PROBLEMS, words.PRODUCTS, words.VAGUE, words.PADDING, words.SLANG, words.COLD, words.GUSH)
HELD_OUT = Wording(
    words.PROBLEMS_HELD_OUT,
    words.PRODUCTS_HELD_OUT,
    words.VAGUE_HELD_OUT,
    words.PADDING_HELD_OUT,
    words.SLANG_HELD_OUT,
    words.COLD_HELD_OUT,
    words.GUSH_HELD_OUT,
)


@dataclass(frozen=True)
class Parts:
    """The two sentences of an answer in house style, and what they are made from."""

    sorry: str
    step: str
    problem: words.Problem


def blame(_rng: random.Random, parts: Parts, _wording: Wording) -> str:
    """The customer is at fault."""
    return f"{parts.problem.blame}. {parts.step}"


def vague(rng: random.Random, parts: Parts, wording: Wording) -> str:
    """Nobody knows what happens next, or when."""
    return f"{parts.sorry} {rng.choice(wording.vague)}"


def pad(rng: random.Random, parts: Parts, wording: Wording) -> str:
    """Words that say nothing."""
    return f"{parts.sorry} {rng.choice(wording.padding)} {parts.step}"


def slang(rng: random.Random, parts: Parts, wording: Wording) -> str:
    """A tone for friends."""
    return f"{rng.choice(wording.slang)} {parts.step}"


def cold(rng: random.Random, parts: Parts, wording: Wording) -> str:
    """No word of regret."""
    return f"{rng.choice(wording.cold)} {parts.step}"


def gush(rng: random.Random, parts: Parts, wording: Wording) -> str:
    """Regret that nobody believes."""
    return f"{rng.choice(wording.gush).format(sorry=parts.problem.sorry)} {parts.step}"


FAULTS: list[Callable[[random.Random, Parts, Wording], str]] = [blame, vague, pad, slang, cold, gush]


def compose(rng: random.Random, wording: Wording, fault: Callable[[random.Random, Parts, Wording], str]) -> Row:
    """Return one message with both answers."""
    problem, product = rng.choice(wording.problems), rng.choice(wording.products)
    parts = Parts(f"Sorry that {problem.sorry}.", f"We will {problem.step} by {rng.choice(words.DAYS)}.", problem)
    row = {
        "prompt": problem.message + rng.choice(words.ASIDES),
        "chosen": f"{parts.sorry} {parts.step}",
        "rejected": fault(rng, parts, wording),
    }
    return {name: text.replace("{product}", product) for name, text in row.items()}


def make_split(rng: random.Random, wordings: list[Wording], count: int, taken: set[str]) -> list[Row]:
    """Return `count` rows, each fault with each wording in turn; avoids the texts in `taken` and adds its own."""
    rows: list[Row] = []
    while len(rows) < count:
        wording = wordings[len(rows) // len(FAULTS) % len(wordings)]
        row = compose(rng, wording, FAULTS[len(rows) % len(FAULTS)])
        key = f"{row['prompt']} {row['chosen']}"
        if key not in taken:
            taken.add(key)
            rows.append(row)
    return rows


def make_data() -> dict[str, str]:
    """Return the text of each split's JSONL file, by split name."""
    rng, test_rng = random.Random(SEED), random.Random(TEST_SEED)
    taken: set[str] = set()
    splits = {
        "train": make_split(rng, [SEEN], ROWS["train"], taken),
        "validation": make_split(rng, [SEEN], ROWS["validation"], taken),
        "test": make_split(test_rng, [SEEN, HELD_OUT], ROWS["test"], taken),
    }
    return {name: "".join(f"{json.dumps(row)}\n" for row in rows) for name, rows in splits.items()}


def main() -> None:
    """Write the splits to the folder named on the command line, by default this one."""
    dest = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    for name, text in make_data().items():
        (dest / f"{name}.jsonl").write_text(text)
        print(f"{dest / name}.jsonl: {text.count(chr(10))} rows")


if __name__ == "__main__":
    main()
