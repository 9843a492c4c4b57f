"""Scores of answers against references.

A metric is a handful of numbers per row and a function of their sums. That is what makes intervals right: resampling
rows means summing other rows' numbers and computing the metric anew, for means, ratios and corpus scores alike.
"""

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from finetune_trainer.evaluate.score import RowLoss

Floats = NDArray[np.float64]

_CHRF_ORDER: Final = 6
_CHRF_BETA: Final = 2
_MOST_LOSS: Final = 57.0
"""Nats; a token of a model that knows nothing of 250,000 tokens costs 12."""


@dataclass(frozen=True, slots=True)
class Metric:
    """A score of a set of rows."""

    name: str
    combine: Callable[[Floats], Floats]
    """From sums [..., k] of the rows' statistics to scores [...]."""
    higher_is_better: bool = True
    is_binary: bool = False
    """Each row is right or wrong: its statistics are (1 or 0, 1)."""
    of_a_row: bool = True
    """It says something of a single row too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerMetric(Metric):
    """A score of generated answers."""

    statistics: Callable[[str, str], tuple[float, ...]]
    """Of one row: (answer, reference) to numbers that may be summed over rows."""

    def table(self, answers: Sequence[str], references: Sequence[str]) -> Floats:
        """Statistics of all rows, float64 [rows, k]."""
        return np.array([self.statistics(*pair) for pair in zip(answers, references, strict=True)], dtype=float)


def ratio(sums: Floats) -> Floats:
    """First sum over second."""
    return sums[..., 0] / sums[..., 1]


def exact_match(answer: str, reference: str) -> float:
    """1 where the texts are equal but for white space around them; case and punctuation count."""
    return float(answer.strip() == reference.strip())


def token_f1(answer: str, reference: str) -> float:
    """Harmonic mean of precision and recall over words, after SQuAD's normalisation (Rajpurkar et al. 2016).

    That is: lower case, without punctuation and English articles. Two empty texts agree.
    """
    got, wanted = _squad_words(answer), _squad_words(reference)
    if not got or not wanted:
        return float(got == wanted)
    common = (Counter(got) & Counter(wanted)).total()
    return 2 * common / (len(got) + len(wanted))


def rouge_l(answer: str, reference: str) -> float:
    """ROUGE-L F-measure (Lin 2004) by rouge-score over words of any script, lower case, not stemmed.

    The package's own tokenizer keeps a-z and 0-9 alone, so that two texts in another script would always score 0.
    """
    from rouge_score.rouge_scorer import RougeScorer  # noqa: PLC0415  the loop runs without it

    scorer = RougeScorer(["rougeL"], tokenizer=_Words())
    return float(scorer.score(reference, answer)["rougeL"].fmeasure)


def chrf_statistics(answer: str, reference: str) -> tuple[float, ...]:
    """Per order 1 to 6: character n-grams of the answer, of the reference, and common ones.

    As in sacrebleu, an answer's n-grams do not count where the reference is too short to have any.
    """
    from sacrebleu.metrics.helpers import extract_all_char_ngrams  # noqa: PLC0415  the loop runs without it

    got = extract_all_char_ngrams(answer, _CHRF_ORDER, False)
    wanted = extract_all_char_ngrams(reference, _CHRF_ORDER, False)
    numbers: list[float] = []
    for some, others in zip(got, wanted, strict=True):
        numbers += [some.total() if others else 0, others.total(), (some & others).total()]
    return tuple(numbers)


def chrf(sums: Floats) -> Floats:
    """chrF2 (Popovic 2015), 0 to 100, from summed statistics; equals sacrebleu's corpus score."""
    got, wanted, common = (sums[..., part::3] for part in range(3))
    with np.errstate(divide="ignore", invalid="ignore"):
        # Orders that one side is too short for are left out of the mean, as sacrebleu does.
        present = (got > 0) & (wanted > 0)
        count = np.maximum(present.sum(-1), 1)
        precision = np.where(present, common / got, 0.0).sum(-1) / count
        recall = np.where(present, common / wanted, 0.0).sum(-1) / count
        weight = _CHRF_BETA**2
        score = (1 + weight) * precision * recall / (weight * precision + recall)
    result: Floats = 100 * np.nan_to_num(score)
    return result


def _mean_of(name: str, score: Callable[[str, str], float], *, is_binary: bool = False) -> AnswerMetric:
    def statistics(answer: str, reference: str) -> tuple[float, float]:
        return score(answer, reference), 1.0

    return AnswerMetric(name, ratio, is_binary=is_binary, statistics=statistics)


METRICS: Final = {
    metric.name: metric
    for metric in (
        _mean_of("exact_match", exact_match, is_binary=True),
        _mean_of("token_f1", token_f1),
        _mean_of("rouge_l", rouge_l),
        AnswerMetric("chrf", chrf, statistics=chrf_statistics),
    )
}
"""Scores of generated answers by the name that `evaluation.metrics` uses."""


def loss_table(losses: Sequence[RowLoss]) -> Floats:
    """Statistics of losses, float64 [rows, 2]; their ratio is the token-weighted loss."""
    return counted(np.array([(loss.total, loss.tokens) for loss in losses], dtype=float))


def counted(table: Floats) -> Floats:
    """Statistics of losses, float64 [rows, 2], of which those that are not finite count as 57 for each token.

    A row that a model fails on stays in the mean, and makes it bad, where NaN would take the metric away.
    """
    result: Floats = table.copy()
    failed = ~np.isfinite(table[:, 0])
    result[failed, 0] = _MOST_LOSS * table[failed, 1]
    return result


def perplexity(sums: Floats) -> Floats:
    """Exponential of the token-weighted loss; of one above 57, that of 57, which is 31 characters long in status."""
    result: Floats = np.exp(np.minimum(ratio(sums), _MOST_LOSS))
    return result


LOSS: Final = Metric("loss", ratio, higher_is_better=False)
"""Its statistics are those of `loss_table`, or (loss, 1) where a row is one decision."""
PERPLEXITY: Final = Metric("perplexity", perplexity, higher_is_better=False, of_a_row=False)


def language_tables(losses: Sequence[RowLoss]) -> dict[str, Floats]:
    """Statistics of loss and perplexity by metric."""
    table = loss_table(losses)
    return {LOSS.name: table, PERPLEXITY.name: table}


class _Words:
    """Words of any script in lower case."""

    def tokenize(self, text: str) -> list[str]:
        return re.findall(r"\w+", text.lower())


def _squad_words(text: str) -> list[str]:
    bare = "".join(character for character in text.lower() if character not in string.punctuation)
    return re.sub(r"\b(a|an|the)\b", " ", bare).split()
