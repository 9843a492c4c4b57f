"""Conditions: when the transition time moves, and which are there."""

from datetime import UTC, datetime

import pytest

from finetune_api.conditions import ConditionType, Reason
from finetune_api.status import Condition, Phase
from finetune_operator.conditions import conditions, find, is_true, phase
from finetune_operator.step import Step

EARLY, LATE = (datetime(2026, 1, 31, hour, tzinfo=UTC) for hour in (1, 2))


def made(
    step_phase: Phase,
    reason: Reason,
    *,
    before: list[Condition] | None = None,
    validated: str | None = "ok",
    at: datetime,
) -> list[Condition]:
    step = Step(phase=step_phase, reason=reason, message=f"because {reason}")
    return conditions(before or [], step, validated=validated, generation=1, now=at)


def test_the_transition_time_stays_while_only_the_reason_changes() -> None:
    before = made("Starting", Reason.TRAINER_STARTING, at=EARLY)
    after = made("Starting", Reason.UNSCHEDULABLE, before=before, at=LATE)
    running = find(after, ConditionType.RUNNING)
    assert running is not None
    assert (running.reason, running.last_transition_time) == ("Unschedulable", "2026-01-31T01:00:00Z")


def test_the_transition_time_moves_when_the_status_does() -> None:
    before = made("Starting", Reason.TRAINER_STARTING, at=EARLY)
    after = made("Running", Reason.TRAINER_RUNNING, before=before, at=LATE)
    times = {item.type: item.last_transition_time for item in after}
    assert times["Running"] == "2026-01-31T02:00:00Z"
    assert times["Validated"] == "2026-01-31T01:00:00Z"


# phase: (true, false) condition types once validated
PRESENT: dict[Phase, tuple[set[str], set[str]]] = {
    "Starting": ({"Validated", "Reconciling"}, {"Running"}),
    "Running": ({"Validated", "Running", "Reconciling"}, set()),
    "Suspended": ({"Validated", "Suspended"}, {"Running", "Reconciling"}),
    "Complete": ({"Validated", "Complete"}, {"Running", "Reconciling"}),
    "Failed": ({"Validated", "Failed", "Stalled"}, {"Running", "Reconciling"}),
}


@pytest.mark.parametrize("name", PRESENT)
def test_each_phase_has_its_conditions_and_follows_from_them(name: Phase) -> None:
    found = made(name, Reason.INTERNAL, at=EARLY)
    true, false = PRESENT[name]
    assert {item.type for item in found if item.status == "True"} == true
    assert {item.type for item in found if item.status == "False"} == false
    assert phase(found) == name


def test_validation_is_unknown_until_preflight_has_spoken_and_false_when_it_failed() -> None:
    waiting = find(made("Validating", Reason.PREFLIGHT_RUNNING, validated=None, at=EARLY), ConditionType.VALIDATED)
    failed = find(made("Failed", Reason.DATASET_EMPTY, validated=None, at=EARLY), ConditionType.VALIDATED)
    assert waiting is not None
    assert failed is not None
    assert (waiting.status, failed.status) == ("Unknown", "False")


def test_suspension_leaves_a_trace_when_it_ends() -> None:
    before = made("Suspended", Reason.SUSPENDED_BY_USER, at=EARLY)
    after = made("Starting", Reason.TRAINER_STARTING, before=before, at=LATE)
    assert not is_true(after, ConditionType.SUSPENDED)
    resumed = find(after, ConditionType.SUSPENDED)
    assert resumed is not None
    assert resumed.reason == "Resumed"
