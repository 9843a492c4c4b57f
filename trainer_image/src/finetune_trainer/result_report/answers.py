"""Test rows side by side, as many as a page has room for: what was broken first, then what was fixed."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from finetune_trainer.evaluate.compare import ExampleResult
from finetune_trainer.result_report.wording import RIVAL_TITLES, metric_title, score

MOST_CHARACTERS: Final = 4000
"""Of one text; the rest stands in examples.jsonl."""
_ORDER: Final = {"broken": 0, "fixed": 1, "unchanged": 2}


@dataclass(frozen=True, slots=True)
class CutText:
    """A text, or its start."""

    text: str
    left_out: int
    """Characters that are not shown."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One row as the page shows it."""

    example: ExampleResult
    scores: list[tuple[str, str, str]]
    """Metric, the base's and the tuned model's."""
    texts: list[tuple[str, str, CutText]]
    """What it is to the style sheet, its title, the text; none where rows are not to be shown."""


def make_answers(examples: Sequence[ExampleResult], *, show_rows: bool) -> list[Answer]:
    """All rows, the most telling first."""
    ordered = sorted(examples, key=lambda example: _ORDER[example.change])
    return [Answer(each, _scores(each), _texts(each) if show_rows else []) for each in ordered]


def fitting(answers: Iterable[Answer], render: Callable[[Answer], str], room: int) -> list[str]:
    """Rendered rows, from the first on, that take at most `room` bytes together."""
    found = []
    for answer in answers:
        made = render(answer)
        room -= len(made.encode())
        if room < 0:
            break
        found.append(made)
    return found


def _scores(example: ExampleResult) -> list[tuple[str, str, str]]:
    return [(metric_title(name), score(each.baseline), score(each.tuned)) for name, each in example.scores.items()]


def _texts(example: ExampleResult) -> list[tuple[str, str, CutText]]:
    rivals = [("rival", f"The {RIVAL_TITLES[name]}", text) for name, text in example.rivals.items()]
    parts = [
        ("prompt", "Prompt", example.prompt),
        ("reference", "Wanted", example.reference),
        ("baseline", "Base", example.baseline),
        ("tuned", "Tuned", example.tuned),
        *rivals,
    ]
    return [(kind, title, _cut(text)) for kind, title, text in parts]


def _cut(text: str) -> CutText:
    return CutText(text[:MOST_CHARACTERS], max(0, len(text) - MOST_CHARACTERS))
