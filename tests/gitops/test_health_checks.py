"""What GitOps tools make of a FinetuneJob in every state: their own code on objects of the operator's own decision."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from gitops_judges import Verdicts, compile_judges, health_checks, judge
from recorded_states import CHECK, ROOT, files, recorded


def judged(test: Any) -> Any:
    """By programs in Go, which is there where the local cluster is compiled."""
    return pytest.mark.cluster(pytest.mark.slow(name="gitops", minutes=2)(test))


# state: (kstatus, Flux with our expressions, Argo CD with our script)
EXPECTED = {
    # kstatus calls an object without a status done: the operator's first write is seconds away.
    "new": ("Current", "Unknown", "Progressing"),
    "edited": ("InProgress", "InProgress", "Progressing"),
    "validating": ("InProgress", "InProgress", "Progressing"),
    "queued-preflight": ("InProgress", "InProgress", "Progressing"),
    "queued": ("InProgress", "Current", "Progressing"),
    "preempted": ("InProgress", "Current", "Progressing"),
    "queued-nowhere": ("Failed", "Failed", "Degraded"),
    "deactivated": ("Failed", "Failed", "Degraded"),
    "unschedulable": ("InProgress", "Current", "Progressing"),
    "running": ("InProgress", "Current", "Progressing"),
    "retrying": ("InProgress", "Current", "Progressing"),
    "suspending": ("InProgress", "Current", "Progressing"),
    "suspended": ("Current", "Current", "Suspended"),
    "stalled": ("Failed", "Failed", "Degraded"),
    "failed-data": ("Failed", "Failed", "Degraded"),
    "failed-retries": ("Failed", "Failed", "Degraded"),
    "complete": ("Current", "Current", "Healthy"),
    "complete-withheld": ("Current", "Current", "Healthy"),
}


@pytest.fixture(scope="module")
def said() -> dict[str, Verdicts]:
    """Every state's verdicts."""
    return judge(compile_judges(), recorded())


def argo_tests() -> list[dict[str, Any]]:
    """Argo CD's own test file of the script."""
    return yaml.safe_load((CHECK / "health_test.yaml").read_text())["tests"]


@judged
@pytest.mark.parametrize("state", EXPECTED)
def test_each_tool_knows_how_a_job_stands(said: dict[str, Verdicts], state: str) -> None:
    found = said[state]
    assert (found.kstatus.status, found.flux.status, found.argocd.status) == EXPECTED[state]


@judged
@pytest.mark.parametrize("test", argo_tests(), ids=lambda test: Path(test["inputPath"]).stem)
def test_argo_cd_shows_what_its_test_file_says(said: dict[str, Verdicts], test: dict[str, Any]) -> None:
    found = said[Path(test["inputPath"]).stem].argocd
    assert {"status": found.status, "message": found.message} == test["healthStatus"]


@judged
def test_kstatus_says_why_a_job_cannot_go_on(said: dict[str, Verdicts]) -> None:
    assert said["failed-data"].kstatus.message == "train.jsonl:7: not JSON"


@judged
def test_flux_waits_for_a_job_that_has_no_status_yet(said: dict[str, Verdicts]) -> None:
    assert "no such attribute(s): status" in said["new"].flux.message


def test_every_recorded_state_is_judged_and_in_argo_cds_test_file() -> None:
    tested = {Path(test["inputPath"]).stem: test["healthStatus"]["status"] for test in argo_tests()}
    assert tested == {state: argo for state, (_, _, argo) in EXPECTED.items()}
    assert set(EXPECTED) == set(recorded())


def test_recorded_states_are_what_the_operator_decides_now() -> None:
    stale = [path.name for path, text in files().items() if path.read_text() != text]
    assert stale == [], "run `make generate`"
    assert {path.name for path in (CHECK / "testdata").iterdir()} == {path.name for path in files()}


def test_the_page_shows_the_expressions_that_are_tested() -> None:
    page = (ROOT / "docs/gitops.md").read_text()
    shown = yaml.safe_load(page.split("```yaml\n")[1].split("```")[0])
    (check,) = shown["healthCheckExprs"]
    assert {name: check[name] for name in ("failed", "current")} == health_checks()
