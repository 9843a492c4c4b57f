"""The example of the README, on the real model: tuned beats base on rows never seen, whatever the seed."""

from typing import Any

import pytest
from example_run import run_example
from examples.demo.example import Example
from examples.demo.target import Target

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]


def assert_tuned_is_better(job: dict[str, Any]) -> None:
    headline = job["status"]["evaluation"]["metrics"][0]
    assert headline["name"] == "exact_match"
    assert headline["verdict"] == "better"
    assert float(headline["low"]) > 0
    assert [rival["verdict"] for rival in headline["rivals"]] == ["better"]


@pytest.mark.slow(name="order desk", minutes=6)
def test_tuned_beats_base_with_an_interval_that_excludes_zero(order_desk: dict[str, Any]) -> None:
    assert_tuned_is_better(order_desk)


@pytest.mark.parametrize(
    "seed", [pytest.param(seed, marks=pytest.mark.slow(name=f"order desk, seed {seed}", minutes=6)) for seed in (1, 2)]
)
def test_tuned_beats_base_on_other_seeds_too(installed: Target, seed: int) -> None:
    assert_tuned_is_better(run_example(installed, Example.load("order-desk"), seed=seed))
