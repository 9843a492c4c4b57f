"""A few questions of our own in the layout of ARC's rows."""

import json
from typing import Any

_QUESTIONS = [
    ("Which of these gives light of its own?", ["the Moon", "the Sun", "a mirror", "a window"], "B"),
    ("What do plants take in through their roots?", ["water", "light", "sound", "wood"], "A"),
    ("Which animal lays eggs?", ["a dog", "a horse", "a hen", "a cow"], "C"),
    ("What is ice made of?", ["iron", "salt", "sand", "water"], "D"),
    ("Which tool measures how warm a room is?", ["a ruler", "a thermometer", "a scale"], "B"),
    ("What pulls a dropped ball to the ground?", ["gravity", "light", "heat", "colour"], "A"),
    ("Which of these conducts electricity best?", ["wood", "glass", "copper", "wool"], "3"),
    ("What part of a plant makes most of its food?", ["the root", "the leaf", "the bark", "the seed"], "2"),
    ("How long does the Earth take around the Sun?", ["a day", "a week", "a month", "a year"], "D"),
    ("Which season follows winter?", ["autumn", "summer", "spring", "another winter"], "C"),
    ("What happens to water at its boiling point?", ["it turns to steam", "it freezes", "it burns"], "A"),
    ("Which of these is a mammal?", ["a trout", "a whale", "a frog", "a snake"], "B"),
]


def science_rows(first: int = 0, last: int | None = None) -> list[dict[str, Any]]:
    """Rows as the hub has them; some number their choices, as ARC does."""
    return [_row(f"own-{number}", *each) for number, each in enumerate(_QUESTIONS)][first:last]


def _row(name: str, question: str, choices: list[str], answer: str) -> dict[str, Any]:
    labels = [str(index + 1) if answer.isdigit() else "ABCD"[index] for index in range(len(choices))]
    return {"id": name, "question": question, "choices": {"text": choices, "label": labels}, "answerKey": answer}


def jsonl(rows: list[dict[str, Any]]) -> bytes:
    """Rows as a file."""
    return "".join(json.dumps(row) + "\n" for row in rows).encode()
