"""The sample of slow cases is bounded, reproducible, and reaches every case in time."""

from sampling import SlowRun, choose, sample

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


def test_many_cheap_runs_without_the_cluster_take_no_turn_from_those_on_it() -> None:
    on_cluster = [SlowRun(name=name, minutes=minutes, on_cluster=True) for name, minutes in RUNS.items()]
    cheap = [SlowRun(name=f"kill {number}", minutes=0.5, on_cluster=False) for number in range(100)]
    chosen = choose([*on_cluster, *cheap], "a", cluster_minutes=7, other_minutes=3)
    assert chosen & RUNS.keys() == sample(RUNS, "a", 7)
    assert len(chosen - RUNS.keys()) == 6
