"""Which languages a sample of rows is in, guessed by py3langid: 97 languages from 1 MB of n-grams, offline."""

from collections import Counter
from collections.abc import Sequence
from typing import Final

from finetune_trainer.data.report.content import Languages, LanguageShare

EXCERPT: Final = 1000
"""Characters of a row that a guess looks at."""
_LEAST: Final = 80
"""Characters below which a guess is a toss."""
_MOST_SHOWN: Final = 8


def guess_languages(excerpts: Sequence[str]) -> Languages:
    """The languages of texts of up to `EXCERPT` characters."""
    import py3langid  # noqa: PLC0415  loads its model, 0.3 s

    long = [text for text in excerpts if len(text) >= _LEAST]
    counts = Counter(str(py3langid.classify(text)[0]) for text in long)
    shares = counts.most_common(_MOST_SHOWN)
    rest = counts.total() - sum(count for _, count in shares)
    if rest:
        shares.append(("other", rest))
    return Languages(
        guessed=len(long),
        too_short=len(excerpts) - len(long),
        shares=[LanguageShare(language=name, rows=count) for name, count in shares],
    )
