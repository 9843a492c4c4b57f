"""A 95 % interval holds the truth in 93 to 97 of 100 trials: simulated, 2,000 trials of 100 rows for each kind.

Each population is drawn as measurements come: most rows alike for both models, few rows decisive, long rows costing
more. The truth is that of half a million rows. All trials share one set of resamples, as the metrics of a report do,
and go through the interval's own code at once.
"""

from collections.abc import Callable
from functools import cache, partial

import numpy as np
import pytest

from finetune_trainer.evaluate import intervals
from finetune_trainer.evaluate.confusion import METRICS as LABEL_METRICS
from finetune_trainer.evaluate.confusion import count_table
from finetune_trainer.evaluate.intervals import resample, tango, wilson
from finetune_trainer.evaluate.metrics import chrf, perplexity, ratio

TRIALS, ROWS, TRUTH_ROWS = 2_000, 100, 500_000
AT_ONCE = 250
"""Trials in memory together."""
Draw = Callable[[np.random.Generator, tuple[int, int]], tuple[np.ndarray, np.ndarray]]
"""Tables of baseline and tuned model, float64 [trials, rows, k]."""


def assert_covers(inside: np.ndarray) -> None:
    """Of 2,000 seeded trials; chance alone makes half a percent."""
    assert 0.93 <= inside.mean() <= 0.97, f"{inside.mean():.2%}"


# Right or wrong

PAIRED = [(0.2, 0.05), (0.1, 0.1), (0.3, 0.1), (0.05, 0.15), (0.5, 0.05), (0.1, 0.02)]
"""Probability that tuning fixes a row, and that it breaks one."""


@pytest.mark.parametrize(("fixed", "broken"), PAIRED)
def test_tango_s_interval_of_a_paired_difference_covers(fixed, broken):
    generator = np.random.default_rng(1)
    counts = generator.multinomial(ROWS, [fixed, broken, 1 - fixed - broken], size=TRIALS)

    @cache
    def interval(better: int, worse: int) -> tuple[float, float]:
        base, tuned = np.zeros(ROWS), np.zeros(ROWS)
        tuned[:better] = 1
        base[better : better + worse] = 1
        return tango(base, tuned)

    ends = np.array([interval(better, worse) for better, worse, _ in counts.tolist()])
    assert_covers((ends[:, 0] <= fixed - broken) & (fixed - broken <= ends[:, 1]))


@pytest.mark.parametrize(("low", "high"), [(0.05, 0.15), (0.25, 0.35), (0.45, 0.55), (0.75, 0.85), (0.9, 0.96)])
def test_wilson_s_interval_of_a_share_covers(low, high):
    """Over a span of rates: at a single one, coverage jumps with the counts that are possible (Brown et al. 2001)."""
    generator = np.random.default_rng(1)
    rates = generator.uniform(low, high, TRIALS)
    counts = generator.binomial(ROWS, rates)
    ends = np.array([wilson((np.arange(ROWS) < count).astype(float)) for count in counts])
    assert_covers((ends[:, 0] <= rates) & (rates <= ends[:, 1]))


# Everything else: the bootstrap


def losses(generator, shape):
    """(loss, tokens) of rows whose lengths are log-normal, as documents' are; tuning takes a fifth off."""
    tokens = np.exp(generator.normal(3, 0.5, shape)).round() + 1
    hard = generator.gamma(4, 0.4, shape)  # what a row costs every model, a token
    tuned = hard * generator.uniform(0.6, 1, shape)
    return np.stack([tokens * hard, tokens], 2), np.stack([tokens * tuned, tokens], 2)


def rare(generator, shape):
    """As `losses`, but lengths and costs vary more, and tuning helps least where a row costs most."""
    tokens = np.exp(generator.normal(3, 0.7, shape)).round() + 1
    hard = generator.gamma(2, 0.6, shape)
    base = hard + 0.3 * generator.gamma(1, 1, shape)
    return np.stack([tokens * base, tokens], 2), np.stack([tokens * hard * generator.uniform(0.6, 1, shape), tokens], 2)


def sparse(generator, shape):
    """(score, 1), nothing for nine rows in ten, of which the tuned model scores at one in ten anew."""

    def some():
        return np.where(generator.random(shape) < 0.9, 0.0, generator.beta(2, 3, shape))

    base = some()
    tuned = np.where(generator.random(shape) < 0.9, base, generator.beta(2, 3, shape))
    ones = np.ones(shape)
    return np.stack([base, ones], 2), np.stack([tuned, ones], 2)


def overlaps(generator, shape):
    """(score, 1) as word overlap gives it: a third of the rows nothing, a fifth everything, the rest in between."""

    def scores():
        kind = generator.random(shape)
        return np.where(kind < 0.3, 0.0, np.where(kind < 0.5, 1.0, generator.beta(2, 3, shape)))

    base = scores()
    tuned = np.where(generator.random(shape) < 0.5, base, np.maximum(scores(), generator.beta(3, 3, shape)))
    ones = np.ones(shape)
    return np.stack([base, ones], 2), np.stack([tuned, ones], 2)


def n_grams(generator, shape):
    """(of the answer, of the reference, common) for n = 1 to 6, of answers about as long as their references."""
    wanted = np.exp(generator.normal(3.5, 0.5, shape)).round() + 6

    def model(quality):
        share = generator.beta(5 * quality, 5 * (1 - quality), shape)
        got = (wanted * np.exp(generator.normal(0, 0.2, shape))).round() + 6
        columns = []
        for order in range(6):
            some, others = got - order, wanted - order
            common = generator.binomial(np.minimum(some, others).astype(int), share ** (1 + 0.3 * order))
            columns += [some, others, common]
        return np.stack(columns, 2).astype(float)

    return model(0.3), model(0.5)


def decisions(generator, shape, *, shares, before, after):
    """Counts of a classifier: how often each label is wanted, and how often each model then gives it."""
    labels = len(shares)
    wanted = generator.choice(labels, size=shape, p=shares)

    def model(rates):
        another = (wanted + generator.integers(1, labels, shape)) % labels
        return np.where(generator.random(shape) < np.array(rates)[wanted], wanted, another)

    base = model(before)
    tuned = np.where(generator.random(shape) < 0.5, base, model(after))
    return tuple(
        count_table(wanted.ravel(), given.ravel(), labels).reshape(*shape, 3 * labels) for given in (base, tuned)
    )


even = partial(decisions, shares=[0.4, 0.35, 0.25], before=[0.6, 0.6, 0.5], after=[0.8, 0.9, 0.8])
uneven = partial(decisions, shares=[0.6, 0.25, 0.15], before=[0.8, 0.5, 0.4], after=[0.9, 0.8, 0.7])
POPULATIONS = {
    "token-weighted loss": (losses, ratio),
    "loss of which a few rows are most": (rare, ratio),
    "a score that a tenth of the rows has": (sparse, ratio),
    "perplexity": (losses, perplexity),
    "mean of word overlap": (overlaps, ratio),
    "chrF": (n_grams, chrf),
    "F1 of even labels": (even, LABEL_METRICS["f1"].combine),
    "F1 of uneven labels": (uneven, LABEL_METRICS["f1"].combine),
    "precision of uneven labels": (uneven, LABEL_METRICS["precision"].combine),
    "recall of uneven labels": (uneven, LABEL_METRICS["recall"].combine),
}


def coverage(name, *, paired) -> np.ndarray:
    """Whether each trial's interval holds the truth: of the difference, or of the tuned model's own score."""
    draw, combine = POPULATIONS[name]

    def chosen(generator, shape):
        base, tuned = draw(generator, shape)
        return [base, tuned] if paired else [tuned]

    scores = [combine(table.sum(1))[0] for table in chosen(np.random.default_rng(2), (1, TRUTH_ROWS))]
    truth = scores[-1] - scores[0] if paired else scores[0]
    generator, inside = np.random.default_rng(1), []
    for _ in range(TRIALS // AT_ONCE):
        low, high = resample(chosen(generator, (AT_ONCE, ROWS)), combine, seed=0)
        inside.append((low <= truth) & (truth <= high))
    return np.concatenate(inside)


@pytest.fixture(autouse=True)
def _fewer_resamples(monkeypatch):
    """A quarter of those of a report, for speed: the ends wander a little more, so that covering is no easier."""
    monkeypatch.setattr(intervals, "_RESAMPLES", 1000)


@pytest.mark.parametrize("name", POPULATIONS)
def test_the_bootstrap_of_a_paired_difference_covers(name):
    assert_covers(coverage(name, paired=True))


@pytest.mark.parametrize("name", POPULATIONS)
def test_the_bootstrap_of_one_model_s_score_covers(name):
    assert_covers(coverage(name, paired=False))
