"""One trajectory: however a step is cut into micro-batches, packed, padded or divided among processes, training goes
the same way.

Forty steps of eight rows in a fixed order, the same seed and schedule, float32. All that may differ is the order in
which numbers are summed. That changes the last bits of a gradient, by about 1e-7 of it, and AdamW carries them on into
the weights; measured, it is 1e-6 in the losses after forty steps. The limits below are about ten times what was
measured, and far below what a wrong normalisation makes: one supervised token more or less in a step's weight changes
its loss by 1e-2.

Rounding has no direction. A mistake has, so differences must also have a mean of zero, as far as can be told from
forty of them, or less than the last bit of a loss.
"""

import statistics
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from training_run import Ended, RunSettings, run, run_in_processes

STEPS, ROWS = 40, 40
PLAN = [[(8 * step + row) % ROWS for row in range(8)] for step in range(STEPS)]
UNEVEN = [*PLAN[:3], [5], [6], *PLAN[5:8]]
"""Two of the steps have a single row."""
OVERFIT = [[16 + (8 * step + row) % (ROWS - 16) for row in range(8)] for step in range(STEPS)]
"""Nothing is learnt from the validation rows, whose loss rises in the end."""
LAST_BIT = 2.0**-21
"""Of a float32 between 4 and 8."""


def settings(**changes) -> RunSettings:
    numbers = {"learning_rate": 0.02, "micro_batch_tokens": 96, **changes.pop("hyperparameters", {})}
    return RunSettings(**{"plan": PLAN, "rows": ROWS, "validation": 16, "hyperparameters": numbers} | changes)


def assert_same_trajectory(found: Ended, expected: Ended) -> None:
    assert len(found.losses) == len(expected.losses) == STEPS
    assert expected.losses[-1] < 0.8 * expected.losses[0], "there is something to learn, or nothing would be compared"
    assert found.losses == pytest.approx(expected.losses, rel=1e-5)
    assert found.validation_losses == pytest.approx(expected.validation_losses, rel=1e-5)
    assert found.norms == pytest.approx(expected.norms, rel=2e-4)
    for name, tensor in expected.adapter.items():
        assert float((found.adapter[name] - tensor).abs().max()) < 3e-5, name
    residuals = [mine - theirs for mine, theirs in zip(found.losses, expected.losses, strict=True)]
    sampling_error = statistics.stdev(residuals) / STEPS**0.5
    assert abs(statistics.fmean(residuals)) <= max(3 * sampling_error, LAST_BIT), "drift to one side"


@pytest.fixture(scope="module")
def packed() -> Ended:
    return run(settings())


def test_eight_times_one_row_is_four_times_two_rows_is_one_batch_of_eight() -> None:
    def cut(rows: int) -> Ended:
        of_rows = {"micro_batch_tokens": 16 * rows, "packing": "off"}
        return run(settings(row_lengths=[16], hyperparameters=of_rows))

    whole = cut(8)
    assert_same_trajectory(cut(1), whole)
    assert_same_trajectory(cut(2), whole)


def test_packed_rows_are_padded_rows(packed: Ended) -> None:
    assert_same_trajectory(packed, run(settings(hyperparameters={"packing": "off"})))


def test_a_wrong_normalisation_would_be_noticed(packed: Ended) -> None:
    """The limits are not too wide: a learning rate that is off by a thousandth does not pass."""
    with pytest.raises(AssertionError):
        assert_same_trajectory(packed, run(settings(hyperparameters={"learning_rate": 0.02 * 1.001})))


@pytest.fixture(scope="module")
def states(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where runs that are stopped in the middle leave their state."""
    return tmp_path_factory.mktemp("states")


@pytest.fixture(scope="module")
def first_half(states: Path) -> Ended:
    """A run alone that is stopped in the middle."""
    return run(settings(validation=0, stop_rank=0, stop_step=STEPS // 2, keep_in=str(states / "of-one")))


@pytest.fixture(scope="module")
def two_processes(first_half: Ended, states: Path, tmp_path_factory: pytest.TempPathFactory) -> list[list[Ended]]:
    """Runs by two processes each: the same as alone, one that is stopped, one that does not fit together, the second
    half of one that was begun alone, and the first half of one that is to end alone.
    """
    runs = [
        settings(skewed_start=True),
        settings(plan=UNEVEN, validation=0, stop_rank=1, stop_step=5),
        settings(skewed_plan=True),
        settings(go_on_from=str(states / "of-one")),
        settings(validation=0, stop_rank=1, stop_step=STEPS // 2, keep_in=str(states / "of-two")),
    ]
    return run_in_processes(runs, 2, Path(tmp_path_factory.mktemp("two-processes")))


def assert_same_in_two_parts(first: Ended, second: Ended, expected: Ended) -> None:
    assert f"asked to stop after step {STEPS // 2}" in first.error
    whole = replace(
        second,
        losses=first.losses + second.losses,
        norms=first.norms + second.norms,
        # The first half looks at no validation rows; the second begins with the look that was due where that stopped.
        validation_losses=expected.validation_losses[:1] + second.validation_losses,
    )
    assert_same_trajectory(whole, expected)


def test_two_processes_go_on_where_one_was_stopped(
    packed: Ended, first_half: Ended, two_processes: list[list[Ended]]
) -> None:
    second, _ = two_processes[3]
    assert_same_in_two_parts(first_half, second, packed)
    assert second.execution_changes == "worldSize was 1 and is 2"


def test_one_process_goes_on_where_two_were_stopped(
    packed: Ended, states: Path, two_processes: list[list[Ended]]
) -> None:
    second = run(settings(go_on_from=str(states / "of-two")))
    assert_same_in_two_parts(two_processes[4][0], second, packed)
    assert second.execution_changes == "worldSize was 2 and is 1"


def test_a_run_goes_on_with_other_micro_batches_and_without_packing(
    packed: Ended, first_half: Ended, states: Path
) -> None:
    padded = {"packing": "off", "micro_batch_tokens": 48}
    second = run(settings(go_on_from=str(states / "of-one"), hyperparameters=padded))
    assert_same_in_two_parts(first_half, second, packed)
    assert second.execution_changes == "microBatchTokens was 96 and is 48, packing was true and is false"


def test_two_processes_train_as_one(packed: Ended, two_processes: list[list[Ended]]) -> None:
    """The second one starts from other weights, as a bug would make it, and is given those of the first."""
    first, second = two_processes[0]
    assert_same_trajectory(first, packed)
    assert all((tensor == second.adapter[name]).all() for name, tensor in first.adapter.items()), "bit-equal"


def test_the_first_of_two_processes_tells_and_saves(two_processes: list[list[Ended]]) -> None:
    first, second = two_processes[0]
    assert first.saved_steps == [10, 20, 30, 40]
    assert (second.losses, second.saved_steps) == ([], [])


def test_two_processes_stop_after_the_same_step_when_one_is_asked_to(two_processes: list[list[Ended]]) -> None:
    """In two of those steps one process has nothing to learn from."""
    first, second = two_processes[1]
    assert "asked to stop after step 5 of 8" in first.error
    assert second.error == first.error
    assert first.saved_steps == [5]
    assert all((tensor == second.adapter[name]).all() for name, tensor in first.adapter.items())
    alone = run(settings(plan=UNEVEN, validation=0, stop_rank=0, stop_step=5))
    assert first.losses == pytest.approx(alone.losses, rel=1e-5)


def test_processes_that_would_not_do_the_same_steps_are_refused(two_processes: list[list[Ended]]) -> None:
    for ended in two_processes[2]:
        assert "would not train the same steps" in ended.error
        assert ended.losses == []


@dataclass(frozen=True)
class Divided:
    """Runs of several processes that hold a part of every layer each."""

    processes: int
    runs: list[list[Ended]]

    def ended(self, name: str) -> list[Ended]:
        return self.runs[list(DIVIDED).index(name)]


FULL = {"learning_rate": 0.002}
DIVIDED: dict[str, dict[str, Any]] = {
    "lora": {},
    "full": {"method": "full", "hyperparameters": FULL},
    "dora": {"method": "dora"},
    "uneven": {"plan": UNEVEN, "validation": 0},
    "best": {"plan": OVERFIT, "control": {"keep": "best"}},
    "stopped": {"validation": 0, "stop_rank": 1, "stop_step": STEPS // 2},
    "rounded base": {"base": "bfloat16"},
}
"""Changes of the usual run, by name."""


FOUR = pytest.param(4, marks=pytest.mark.slow(name="four divided processes", minutes=2))


@pytest.fixture(scope="module", params=[2, FOUR])
def divided(
    request: pytest.FixtureRequest, first_half: Ended, states: Path, tmp_path_factory: pytest.TempPathFactory
) -> Divided:
    folder = Path(tmp_path_factory.mktemp("divided"))
    runs = [settings(is_divided=True, **changes) for changes in DIVIDED.values()]
    runs[list(DIVIDED).index("stopped")] = replace(
        runs[list(DIVIDED).index("stopped")], keep_in=str(states / f"of-{request.param}-parts")
    )
    runs.append(settings(is_divided=True, go_on_from=str(states / "of-one")))
    return Divided(request.param, run_in_processes(runs, request.param, folder))


def test_every_parameter_of_a_layer_is_divided_and_each_process_holds_its_part(divided: Divided) -> None:
    for name in ("lora", "full", "dora"):
        for ended in divided.ended(name):
            held = ended.held
            assert held is not None
            assert held.whole == []
            assert held.weights == pytest.approx(held.layers / divided.processes, rel=0.1)
    full = divided.ended("full")[0].held
    assert full is not None
    assert full.gradients == full.weights
    assert full.moments == pytest.approx(2 * full.weights, rel=0.01)


def test_a_whole_model_is_held_whole() -> None:
    """What the test above would find if nothing was divided."""
    held = run(settings(validation=0)).held
    assert held is not None
    assert held.weights == held.layers
    assert held.whole


@pytest.mark.parametrize("name", ["lora", "full", "dora"])
def test_divided_layers_are_trained_as_whole_ones(divided: Divided, name: str) -> None:
    first, *others = divided.ended(name)
    assert_same_trajectory(first, run(settings(**DIVIDED[name])))
    for other in others:
        assert all((tensor == other.adapter[key]).all() for key, tensor in first.adapter.items()), "bit-equal"


def test_a_process_without_rows_keeps_the_others_company(divided: Divided) -> None:
    alone = run(settings(**DIVIDED["uneven"]))
    assert divided.ended("uneven")[0].losses == pytest.approx(alone.losses, rel=1e-5)


def test_the_best_of_divided_states_is_put_together(divided: Divided) -> None:
    alone, first = run(settings(**DIVIDED["best"])), divided.ended("best")[0]
    assert first.kept_step == alone.kept_step
    assert first.kept_step is not None
    assert first.kept_step < STEPS, "the last state is the best, so nothing is put back"
    for name, tensor in alone.adapter.items():
        assert float((first.adapter[name] - tensor).abs().max()) < 3e-5, name


def test_adapters_in_float32_are_divided_with_a_rounded_base(divided: Divided) -> None:
    """Sums in bfloat16 differ in their third digit, and the differences grow: the first half is compared."""
    alone, half = run(settings(**DIVIDED["rounded base"])), STEPS // 2
    assert divided.ended("rounded base")[0].losses[:half] == pytest.approx(alone.losses[:half], rel=1e-2)


def test_divided_processes_go_on_where_one_was_stopped(packed: Ended, first_half: Ended, divided: Divided) -> None:
    assert_same_in_two_parts(first_half, divided.runs[-1][0], packed)


def test_one_process_goes_on_where_divided_ones_were_stopped(packed: Ended, states: Path, divided: Divided) -> None:
    second = run(settings(go_on_from=str(states / f"of-{divided.processes}-parts")))
    assert_same_in_two_parts(divided.ended("stopped")[0], second, packed)
