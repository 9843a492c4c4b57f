"""What the other two jobs of this example learn from: `make_data.py` writes these files too.

`transfer`: the shop has a new till, which wants other codes in the same records. `requests`: a second task of the
same desk, to be learnt together with the orders.
"""

import random
from collections.abc import Callable
from typing import Final

import vocabulary_requests as request_words

REQUEST_INSTRUCTION: Final = "Request as action | order number:"

Row = dict[str, str]

_SIZES: Final = {"S": "small", "M": "medium", "L": "large", "XL": "giant", "-": "any"}
_DAYS: Final = {"now": "rush", "-": "any"}


def new_record(record: str) -> str:
    """Return an order's record as the new till wants it: `mug | 2 | medium | Tue`."""
    item, quantity, size, day = record.split(" | ")
    return f"{item} | {quantity} | {_SIZES[size]} | {_DAYS.get(day, day)}"


def for_the_new_till(rows: list[Row]) -> list[Row]:
    """Return order rows with the new record."""
    return [row | {"response": new_record(row["response"])} for row in rows]


def make_requests(rng: random.Random, sentences: list[dict[str, list[str]]], count: int, taken: set[str]) -> list[Row]:
    """Return `count` rows, taking actions and sets of sentences in turn; no order number occurs twice."""
    rows: list[Row] = []
    actions = list(sentences[0])
    while len(rows) < count:
        number = str(rng.randint(11, 989))
        if number in taken:
            continue
        taken.add(number)
        action = actions[len(rows) % len(actions)]
        frames = sentences[len(rows) // len(actions) % len(sentences)][action]
        message = rng.choice(request_words.OPENINGS) + rng.choice(frames).format(number=number)
        rows.append({"instruction": REQUEST_INSTRUCTION, "input": message, "response": f"{action} | {number}"})
    return rows


def make_more(compose_orders: Callable[[int, int, bool], list[Row]]) -> dict[str, list[Row]]:
    """Return the rows of each file; `compose_orders(seed, count, held_out)` makes orders with records of their own."""
    rng, test_rng = random.Random(24), random.Random(25)
    numbers: set[str] = set()
    seen, held_out = request_words.SENTENCES, request_words.SENTENCES_HELD_OUT
    return {
        "transfer-train": for_the_new_till(compose_orders(22, 16, False)),
        "transfer-validation": for_the_new_till(compose_orders(23, 12, False)),
        "transfer-test": for_the_new_till(compose_orders(26, 40, True)),
        "requests-train": make_requests(rng, [seen], 36, numbers),
        "requests-validation": make_requests(rng, [seen], 8, numbers),
        "requests-test": make_requests(test_rng, [seen, held_out], 24, numbers),
    }
