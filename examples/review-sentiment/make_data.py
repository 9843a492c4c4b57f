"""Compose the review-sentiment data set: `python make_data.py [DEST]` writes its splits, always the same bytes.

A row is a product, an adjective and a frame; the frame decides what becomes of the adjective's polarity. The labels
are taken in turn, so every split is balanced. No review occurs twice; every second test row has a product, an
adjective and a frame that training never shows.
"""

import json
import random
import sys
from dataclasses import dataclass
from pathlib import Path

import vocabulary as words

SEED = 30
# The test rows have a seed of their own, so that they can be drawn anew without touching what is trained on.
TEST_SEED = 31
LABELS = ["positive", "negative", "neutral"]
ROWS = {"train": 144, "validation": 24, "test": 60}

Row = dict[str, str]


@dataclass(frozen=True)
class Wording:
    """The words and frames that rows may be composed from."""

    products: list[str]
    good: list[str]
    bad: list[str]
    keeping: list[str]
    turning: list[str]
    silent: list[str]


SEEN = Wording(words.PRODUCTS, words.GOOD, words.BAD, words.KEEPING, words.TURNING, words.SILENT)
HELD_OUT = Wording(
    words.PRODUCTS_HELD_OUT,
    words.GOOD_HELD_OUT,
    words.BAD_HELD_OUT,
    words.KEEPING_HELD_OUT,
    words.TURNING_HELD_OUT,
    words.SILENT_HELD_OUT,
)


def choose_words(rng: random.Random, wording: Wording, label: str) -> tuple[str, str, str]:
    """Return a frame, its adjective and an adjective of the other polarity, which together mean `label`."""
    if label == "neutral":
        frames, is_good = wording.silent, rng.random() < 0.5
    else:
        keeps = rng.random() < 0.5
        frames = wording.keeping if keeps else wording.turning
        is_good = (label == "positive") == keeps
    same, other = (wording.good, wording.bad) if is_good else (wording.bad, wording.good)
    return rng.choice(frames), rng.choice(same), rng.choice(other)


def with_article(text: str) -> str:
    """Write `an` before a vowel."""
    for vowel in "aeiou":
        text = text.replace(f" a {vowel}", f" an {vowel}").replace(f"A {vowel}", f"An {vowel}")
    return text


def compose(rng: random.Random, wording: Wording, label: str) -> str:
    """Return one review that means `label`."""
    frame, word, opposite = choose_words(rng, wording, label)
    sentence = frame.format(product=rng.choice(wording.products), word=word, opposite=opposite)
    return with_article(rng.choice(words.OPENINGS) + sentence)


def make_split(rng: random.Random, wordings: list[Wording], count: int, taken: set[str]) -> list[Row]:
    """Return `count` rows, taking labels and wordings in turn; avoids the reviews in `taken` and adds its own."""
    rows: list[Row] = []
    while len(rows) < count:
        label = LABELS[len(rows) % len(LABELS)]
        review = compose(rng, wordings[len(rows) % len(wordings)], label)
        if review not in taken:
            taken.add(review)
            rows.append({"review": review, "label": label})
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
