"""Series of FinetuneJobs in kube-state-metrics: every path is in the schema, and every state gives its series."""

from typing import Any, get_args

import pytest
import yaml
from custom_resource_state import paths, series
from recorded_states import ROOT, recorded

from finetune_api import GROUP, KIND, VERSION
from finetune_api.crd import custom_resource_definition
from finetune_api.status import Phase

CONFIG = yaml.safe_load((ROOT / "docs/gitops/kube-state-metrics/finetunejobs.yaml").read_text())
(RESOURCE,) = CONFIG["spec"]["resources"]
STATES = recorded()
JOB = {"namespace": "team-a", "name": "tune"}


def values(state: str, metric: str, label: str = "") -> dict[str, float]:
    """Values of a metric by one of its labels."""
    found = [each for each in series(RESOURCE, STATES[state]) if each[0] == f"kube_finetunejob_{metric}"]
    assert all(labels.items() >= JOB.items() for _, labels, _ in found)
    return {labels[label] if label else "": value for _, labels, value in found}


def field(schema: dict[str, Any], path: list[str]) -> dict[str, Any]:
    """The schema that a path leads to; Kubernetes' own metadata is taken as it is known."""
    for key in path:
        schema = schema.get("items", schema)["properties"][key]
    return schema


def test_it_is_about_finetune_jobs() -> None:
    assert CONFIG["kind"] == "CustomResourceStateMetrics"
    assert RESOURCE["groupVersionKind"] == {"group": GROUP, "version": VERSION, "kind": KIND}


def test_every_path_leads_to_a_single_value_of_the_schema() -> None:
    (version,) = custom_resource_definition()["spec"]["versions"]
    schema = version["schema"]["openAPIV3Schema"]
    names = ("namespace", "name", "creationTimestamp")
    schema["properties"]["metadata"] = {"properties": {name: {"type": "string"} for name in names}}
    read = list(paths(RESOURCE))
    assert len(read) > 20
    for start, path in read:
        assert field(field(schema, start), path)["type"] in ("string", "integer"), (start, path)


@pytest.mark.parametrize("state", STATES)
def test_a_job_is_in_the_one_phase_that_its_status_says(state: str) -> None:
    phases = values(state, "status_phase", "phase")
    said = STATES[state].get("status", {}).get("phase")
    assert [phase for phase, value in phases.items() if value] == ([said] if said else [])


def test_every_phase_has_a_series() -> None:
    assert set(values("running", "status_phase", "phase")) == set(get_args(Phase))


def test_conditions_are_told_by_type() -> None:
    assert values("validating", "status_condition", "condition") == {"Validated": 0, "Reconciling": 1}
    assert values("failed-data", "status_condition", "condition")["Stalled"] == 1


def test_progress_of_a_running_job_is_numbers() -> None:
    found = {name: values("running", f"status_{name}")[""] for name in ("step", "total_steps", "loss")}
    assert found == {"step": 42, "total_steps": 100, "loss": 1.2345}


def test_a_complete_job_tells_scores_times_and_gpu_time() -> None:
    assert values("complete", "status_baseline", "metric") == {"exact_match": 0.05}
    assert values("complete", "status_tuned", "metric") == {"exact_match": 0.82}
    assert values("complete", "status_finished")[""] - values("complete", "status_started")[""] == 600
    assert values("complete", "status_gpu_seconds") == {"": 600}
    assert values("complete", "status_attempt_gpu_seconds", "outcome") == {"Succeeded": 600}


def test_a_job_without_a_status_has_its_name_and_its_age_alone() -> None:
    names = {name for name, _, _ in series(RESOURCE, STATES["new"])}
    assert names == {"kube_finetunejob_info", "kube_finetunejob_created"}
