"""Rows as the model sees them: text of neighbouring tokens that count the same."""

from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from typing import Final

from finetune_trainer.data.encode import Tokenized
from finetune_trainer.data.report.content import Run

Decode = Callable[[Sequence[int]], Iterable[str]]
"""Text of token ids, control tokens included: whole or in pieces."""

_MOST_RUNS: Final = 60
_LONGEST: Final = 2000
"""Characters of one run; of longer ones the two ends are shown."""


def runs_of(sequence: Tokenized, decode: Decode) -> list[Run]:
    """The sequence as runs of text. A very long conversation is shown to its sixtieth run.

    Each run's text is what it adds to the text before it, because a tokenizer may decode tokens differently at the
    start of a text (a blank is dropped) and a character may be spread over several tokens.
    """
    runs: list[Run] = []
    done, text = 0, ""
    for weight, group in groupby(sequence.weights):
        if len(runs) == _MOST_RUNS:
            break
        count = sum(1 for _ in group)
        upto = "".join(decode(sequence.token_ids[: done + count].tolist()))
        alone = not upto.startswith(text)
        added = "".join(decode(sequence.token_ids[done : done + count].tolist())) if alone else upto[len(text) :]
        runs.append(Run(text=_shorten(added), weight=float(weight), tokens=count))
        done, text = done + count, upto
    return runs


def _shorten(text: str) -> str:
    if len(text) <= _LONGEST:
        return text
    half = _LONGEST // 2
    return f"{text[:half]} [… {len(text) - 2 * half:,} characters …] {text[-half:]}"
