"""The sample of slow cases is bounded, reproducible, and reaches every case in time."""

from sampling import sample

RUNS = {"life of an example": 6.0, "three kills": 3.0, "suspend": 2.0, "stop": 1.0, "death": 1.0}


def minutes(chosen: set[str]) -> float:
    return sum(RUNS[run] for run in chosen)


def test_the_same_seed_chooses_the_same_runs() -> None:
    assert sample(RUNS, "a", 7) == sample(RUNS, "a", 7)


def test_a_choice_is_never_empty_and_never_takes_longer_than_allowed() -> None:
    for seed in map(str, range(200)):
        assert 0 < minutes(sample(RUNS, seed, 7)) <= 7


def test_every_run_is_chosen_by_some_seed() -> None:
    assert set.union(*(sample(RUNS, seed, 7) for seed in map(str, range(200)))) == set(RUNS)


def test_a_run_longer_than_allowed_still_has_its_turn() -> None:
    assert sample({"long": 30.0}, "a", 7) == {"long"}
