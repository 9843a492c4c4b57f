"""A spec that is legal field by field, and too large as a whole for the variable that its trainer gets it in."""

import os
import subprocess
import sys
from typing import Any

import pytest
from scenarios import VALIDATED, Known, decision, words

from finetune_api.names import Kind
from finetune_operator.actions import CreateJob
from finetune_operator.manifests.pod import ENVIRONMENT_VARIABLE
from finetune_operator.policies.work_order import VARIABLE_BYTES


def labels(count: int, length: int) -> dict[str, Any]:
    """Classes whose names have so many bytes, two to a character."""
    names = [f"{number:03}" + "ä" * ((length - 3) // 2) for number in range(count)]
    return {"objective": {"type": "classification", "classification": {"labels": names}}}


def test_a_spec_that_no_variable_can_hold_fails_before_anything_is_created() -> None:
    made = decision(Known(spec=labels(1000, 251)))
    assert made.actions == ()
    assert (made.status.phase, made.status.failure and made.status.failure.reason) == ("Failed", "SettingsInvalid")
    assert "spec.objective has 25" in made.status.message
    assert "labels" in (made.status.failure.advice if made.status.failure else "")


@pytest.mark.parametrize(("status", "kind"), [(None, "preflight"), (VALIDATED, "train")])
def test_the_largest_that_is_let_through_starts_a_process(status: dict[str, Any] | None, kind: Kind) -> None:
    """Preflight's order is the smaller one: where it is let through, training's fits too."""
    count = next(n for n in range(520, 1, -1) if decision(Known(spec=labels(n, 251))).actions)
    (action,) = decision(Known(spec=labels(count, 251), **({"status": status} if status else {}))).actions
    assert words(action) == f"create {kind}"
    assert isinstance(action, CreateJob)
    (container,) = action.manifest["spec"]["template"]["spec"]["containers"]
    value = next(each["value"] for each in container["env"] if each["name"] == ENVIRONMENT_VARIABLE)
    assert len(value.encode()) > VARIABLE_BYTES - 2048
    subprocess.run([sys.executable, "-c", ""], env=os.environ | {ENVIRONMENT_VARIABLE: value}, check=True)


def test_linux_starts_no_process_with_a_larger_one() -> None:
    value = "x" * (VARIABLE_BYTES - len(ENVIRONMENT_VARIABLE) - 1)
    with pytest.raises(OSError, match="Argument list too long"):
        subprocess.run([sys.executable, "-c", ""], env=os.environ | {ENVIRONMENT_VARIABLE: value}, check=True)
