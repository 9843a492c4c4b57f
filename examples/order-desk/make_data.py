"""Compose the order-desk data sets: `python make_data.py [DEST]` writes their splits, always the same bytes.

A row is a random record (item, quantity, size, day) and one way to say it. No record occurs twice, so no
split shares an answer with another; half of the test rows also use an item and a sentence that training never
shows.
"""

import json
import random
import sys
from dataclasses import dataclass
from pathlib import Path

import more_data
import vocabulary as words

SEED = 20
# The test rows have a seed of their own, so that they can be drawn anew without touching what is trained on.
TEST_SEED = 21
INSTRUCTION = "Order as item | quantity | size | day:"
ROWS = {"train": 150, "validation": 20, "test": 40}

Row = dict[str, str]


@dataclass(frozen=True)
class Wording:
    """The items and sentence frames that rows may be composed from."""

    items: dict[str, str]
    frames: list[str]


SEEN = Wording(words.ITEMS, words.FRAMES)
HELD_OUT = Wording(words.ITEMS_HELD_OUT, words.FRAMES_HELD_OUT)


def choose_when(rng: random.Random) -> tuple[str, str]:
    """Return a time phrase and its code: a weekday in most rows, else urgent (`now`) or none (`-`)."""
    kind = rng.choices(["day", "urgent", "none"], weights=[5, 2, 2])[0]
    if kind == "none":
        return "", "-"
    if kind == "urgent":
        return rng.choice(words.URGENT_PHRASES), "now"
    day = rng.choice(list(words.DAYS))
    return rng.choice(words.DAY_PHRASES).format(day=day), words.DAYS[day]


def phrase_order(quantity: str, size: str, noun: str) -> str:
    """Return the noun phrase of an order, as in `a dozen large mugs` or `an apron`."""
    described = " ".join(part for part in (size, noun) if part)
    if quantity == "a" and described[0] in "aeiou":
        quantity = "an"
    return f"{quantity} {described}"


def tidy(text: str) -> str:
    """Close the gaps that empty slots leave, and start with a capital."""
    text = " ".join(text.split())
    for mark in ".,?:":
        text = text.replace(f" {mark}", mark)
    text = text.replace(",.", ".")
    return text[0].upper() + text[1:]


def compose(rng: random.Random, wording: Wording) -> tuple[str, str]:
    """Return one message and the record it stands for."""
    plural, item = rng.choice(list(wording.items.items()))
    phrase, quantity = rng.choice(list(words.QUANTITIES.items()))
    size, size_code = rng.choice(list(words.SIZES.items()))
    when, day = choose_when(rng)
    order = phrase_order(phrase, size, item if quantity == 1 else plural)
    sentence = rng.choice(wording.frames).format(order=order, when=when)
    message = tidy(f"{sentence} {rng.choice(words.CLOSINGS)}")
    return message, f"{item} | {quantity} | {size_code} | {day}"


def make_split(rng: random.Random, wordings: list[Wording], count: int, taken: set[str]) -> list[Row]:
    """Return `count` rows, taking the wordings in turn; avoids the records in `taken` and adds its own."""
    rows: list[Row] = []
    while len(rows) < count:
        message, record = compose(rng, wordings[len(rows) % len(wordings)])
        if record not in taken:
            taken.add(record)
            rows.append({"instruction": INSTRUCTION, "input": message, "response": record})
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

    def compose_orders(seed: int, count: int, held_out: bool) -> list[Row]:
        return make_split(random.Random(seed), [SEEN, HELD_OUT] if held_out else [SEEN], count, taken)

    splits |= more_data.make_more(compose_orders)
    return {name: "".join(f"{json.dumps(row)}\n" for row in rows) for name, rows in splits.items()}


def main() -> None:
    """Write the splits to the folder named on the command line, by default this one."""
    dest = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    for name, text in make_data().items():
        (dest / f"{name}.jsonl").write_text(text)
        print(f"{dest / name}.jsonl: {text.count(chr(10))} rows")


if __name__ == "__main__":
    main()
