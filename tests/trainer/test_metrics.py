"""Metrics agree with their published definitions, and intervals cover what they say."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sacrebleu.metrics import CHRF

from finetune_trainer.evaluate.intervals import bootstrap, tango
from finetune_trainer.evaluate.metrics import METRICS, chrf, exact_match, perplexity, ratio, rouge_l, token_f1

TEXTS = st.text("ab cdé猫.", max_size=30)


@pytest.mark.parametrize(
    ("answer", "reference", "expected"),
    [("dog", "dog", 1), (" dog\n", "dog", 1), ("Dog", "dog", 0), ("dog.", "dog", 0), ("", "dog", 0)],
)
def test_exact_match_forgives_surrounding_space_alone(answer, reference, expected):
    assert exact_match(answer, reference) == expected


@pytest.mark.parametrize(
    ("answer", "reference", "expected"),
    [
        ("The dog!", "a dog", 1.0),
        ("dog dog", "dog", 2 / 3),
        ("quick fox", "the lazy fox", 1 / 2),
        ("", "dog", 0.0),
        ("", "", 1.0),
        ("the", "a", 1.0),
        ("Hund Katze", "Katze Maus", 0.5),
    ],
)
def test_token_f1_is_that_of_squad(answer, reference, expected):
    assert token_f1(answer, reference) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("answer", "reference", "expected"),
    [
        ("police kill the gunman", "police killed the gunman", 3 / 4),
        ("the gunman kill police", "police killed the gunman", 2 / 4),
        ("собака спит", "собака спит", 1.0),
        ("", "dog", 0.0),
    ],
)
def test_rouge_l_is_the_longest_common_subsequence_in_any_script(answer, reference, expected):
    assert rouge_l(answer, reference) == pytest.approx(expected)


@given(st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=6))
def test_chrf_equals_sacrebleu_s_corpus_score(pairs):
    answers, references = [answer for answer, _ in pairs], [reference for _, reference in pairs]
    table = METRICS["chrf"].table(answers, references)
    expected = CHRF().corpus_score(answers, [references]).score
    assert float(chrf(table.sum(0))) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("name", METRICS)
@given(answer=TEXTS, reference=TEXTS)
def test_a_score_is_between_nothing_and_its_score_of_the_reference_itself(name, answer, reference):
    metric = METRICS[name]

    def of(text):
        return float(metric.combine(metric.table([text], [reference]).sum(0)))

    assert 0 <= of(answer) <= max(of(reference), 1e-9)


def test_the_perplexity_of_any_loss_fits_into_status():
    assert float(perplexity(np.array([6.0, 3.0]))) == pytest.approx(np.exp(2))
    huge = float(perplexity(np.array([1e6, 1.0])))
    assert len(f"{huge:+.4f}") <= 32


def pairs(fixed: int, broken: int, rows: int):
    baseline, tuned = np.zeros(rows), np.zeros(rows)
    tuned[:fixed] = 1
    baseline[fixed : fixed + broken] = 1
    return baseline, tuned


TANGO = [
    # fixed, broken, rows, low, high
    (
        1,
        7,
        21,
        -0.517,
        -0.026,
    ),  # Fagerland, Lydersen, Laake 2017, Statistical Analysis of Contingency Tables, 8.6
    (0, 0, 10, -3.8415 / 13.8415, 3.8415 / 13.8415),  # closed form: z^2 / (n + z^2)
    (10, 0, 10, 6.1585 / 13.8415, 1.0),  # closed form: (n - z^2) / (n + z^2)
]


@pytest.mark.parametrize(("fixed", "broken", "rows", "low", "high"), TANGO)
def test_the_score_interval_gives_the_published_values(fixed, broken, rows, low, high):
    assert tango(*pairs(fixed, broken, rows)) == pytest.approx((low, high), abs=6e-4)


@given(st.integers(0, 20), st.integers(0, 20), st.integers(0, 20))
def test_the_score_interval_holds_the_difference_and_turns_with_the_models(fixed, broken, same):
    rows = max(1, fixed + broken + same)
    baseline, tuned = pairs(fixed, broken, rows)
    low, high = tango(baseline, tuned)
    assert -1 <= low <= (fixed - broken) / rows <= high <= 1
    assert tango(tuned, baseline) == pytest.approx((-high, -low), abs=1e-9)


def coverage(draw, interval, truth, trials=400):
    """Share of seeded trials whose interval holds the true difference."""
    generator = np.random.default_rng(0)
    inside = 0
    for trial in range(trials):
        low, high = interval(*draw(generator), trial)
        inside += low <= truth <= high
    return inside / trials


def test_the_score_interval_covers_95_percent_on_few_rows_near_the_edge():
    def draw(generator):
        tuned = generator.random(30) < 0.95
        return (tuned & (generator.random(30) < 0.1)).astype(float), tuned.astype(float)

    assert 0.93 <= coverage(draw, lambda base, tuned, _trial: tango(base, tuned), truth=0.95 * 0.9) <= 0.99


def test_the_bootstrap_covers_95_percent_of_a_ratio_on_few_rows(monkeypatch):
    monkeypatch.setattr("finetune_trainer.evaluate.intervals._RESAMPLES", 600)

    def draw(generator):
        tokens = generator.integers(1, 20, 25).astype(float)
        shared = generator.gamma(4, 0.5, 25)
        base = tokens * (shared + 0.3 + generator.normal(0, 0.2, 25))
        return np.stack([base, tokens], 1), np.stack([tokens * shared, tokens], 1)

    def interval(base, tuned, trial):
        return bootstrap(base, tuned, ratio, seed=trial)

    assert 0.92 <= coverage(draw, interval, truth=-0.3) <= 0.98


def test_the_bootstrap_is_the_same_for_the_same_seed():
    generator = np.random.default_rng(1)
    base, tuned = (np.stack([generator.random(40), np.ones(40)], 1) for _ in range(2))
    assert bootstrap(base, tuned, ratio, seed=3) == bootstrap(base, tuned, ratio, seed=3)
    assert bootstrap(base, tuned, ratio, seed=3) != bootstrap(base, tuned, ratio, seed=4)


def test_one_row_proves_nothing():
    base, tuned = np.array([[0.2, 1.0]]), np.array([[0.9, 1.0]])
    low, high = bootstrap(base, tuned, ratio, seed=0)
    assert low == 0 < high


def test_pairing_makes_the_interval_of_like_models_narrow():
    generator = np.random.default_rng(2)
    base = np.stack([generator.random(100), np.ones(100)], 1)
    better = base + np.array([0.01, 0.0])
    low, high = bootstrap(base, better, ratio, seed=0)
    assert 0.0099 < low <= high < 0.0101
