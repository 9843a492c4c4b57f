"""Error analysis: what tuning did to each test row, and in which way a wrong answer is wrong.

The classes are told from form alone, by rules that anyone can check by eye. They say where to look first; none of them
is a judgement of meaning, and an answer that only words its reference otherwise may be in none or in several.

Words are runs of letters and digits in lower case; a Chinese or Japanese character is a word of its own. Thai and other
scripts without spaces between words are counted by their runs, which the rules then find too few of to say anything.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable
from typing import Final, Literal

from finetune_api.report import Changes

Change = Literal["fixed", "broken", "unchanged"]
"""What tuning did to a row: the tuned model scores better than the base, or worse, or the same."""
ErrorClass = Literal["empty", "repeats_itself", "too_long", "never_stops", "wrong_label", "off_topic"]

_WORD: Final = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]|[^\W\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+")
_GRAM: Final = 4
_REPEATED: Final = 0.5
_LEAST_GRAMS: Final = 4
_TIMES_TOO_LONG: Final = 2
_WORDS_TOO_LONG: Final = 10
_COMMON: Final = 0.2
_LEAST_WORDS: Final = 4


def change(baseline: float, tuned: float, *, higher_is_better: bool) -> Change:
    """What tuning did to one row; a score that is not finite is worse than any that is."""
    worst = -math.inf
    before, after = (
        (score if higher_is_better else -score) if math.isfinite(score) else worst for score in (baseline, tuned)
    )
    if after > before:
        return "fixed"
    return "broken" if after < before else "unchanged"


def count_changes(changes: Iterable[Change]) -> Changes:
    """How many rows of each kind there are."""
    found = Counter(changes)
    return Changes(fixed=found["fixed"], broken=found["broken"], unchanged=found["unchanged"])


def count_classes(classes: Iterable[Iterable[ErrorClass]]) -> dict[str, int]:
    """How many rows are in each class, the most frequent first; a row may be in several."""
    return dict(Counter(name for row in classes for name in row).most_common())


def classify_label(answer: str, reference: str) -> list[ErrorClass]:
    """The class of a classifier's answer: none where it is right, `empty` where it is no label at all."""
    if answer == reference:
        return []
    return ["wrong_label"] if answer else ["empty"]


def classify_answer(answer: str, reference: str, prompt: str, *, finished: bool) -> list[ErrorClass]:
    """The classes of a written answer; none where it is the reference.

    empty: nothing but white space.
    never_stops: it was cut at the limit of new tokens.
    repeats_itself: more than half of its runs of four words stood before in it, of at least four runs; and its
        reference does not repeat itself. That is seq-rep-4 of Welleck et al. 2020, arXiv:1908.04319.
    too_long: more than twice as many words as the reference, and more than 10 words more.
    off_topic: of its different words, of which there are at least four, less than a fifth stands in the reference or in
        the prompt. Common little words count too, so that only plain strays are found.
    """
    if answer.strip() == reference.strip():
        return []
    if not answer.strip():
        return ["empty"] if finished else ["empty", "never_stops"]
    found: list[ErrorClass] = [] if finished else ["never_stops"]
    words, wanted = _words(answer), _words(reference)
    if _repeats(words) and not _repeats(wanted):
        found.append("repeats_itself")
    if len(words) > max(_TIMES_TOO_LONG * len(wanted), len(wanted) + _WORDS_TOO_LONG):
        found.append("too_long")
    different = set(words)
    if len(different) >= _LEAST_WORDS and len(different & {*wanted, *_words(prompt)}) < _COMMON * len(different):
        found.append("off_topic")
    return found


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _repeats(words: list[str]) -> bool:
    grams = [tuple(words[start : start + _GRAM]) for start in range(len(words) - _GRAM + 1)]
    return len(grams) >= _LEAST_GRAMS and 1 - len(set(grams)) / len(grams) > _REPEATED
