"""The alerts, by Prometheus' own tool: they are valid, fire when they have to, and lead to a runbook."""

import subprocess
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from exported_metrics import Exported, of_the_operator, of_the_trainer
from monitoring_judges import ROOT, compile_promtool, judge
from rendered_chart import CHART

from finetune_api.conditions import Reason
from finetune_api.exit_codes import FailureClass

FILE = CHART / "files" / "rules.yaml"
RULES = [rule for group in yaml.safe_load(FILE.read_text())["groups"] for rule in group["rules"]]
ALERTS = {rule["alert"]: rule for rule in RULES if "alert" in rule}
RECORDED = {rule["record"] for rule in RULES if "record" in rule}
CASES = Path(__file__).with_name("rules_test.yaml")


def slow(test: Any) -> Any:
    """Mark what needs promtool, which takes minutes to compile the first time."""
    return pytest.mark.cluster(pytest.mark.slow(name="promtool", minutes=3)(test))


@pytest.fixture(scope="module")
def promtool() -> Path:
    return compile_promtool()


def run(promtool: Path, *arguments: str | Path) -> str:
    done = subprocess.run([promtool, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def cases() -> list[dict[str, Any]]:
    """All cases of all tests."""
    return [case for test in yaml.safe_load(CASES.read_text())["tests"] for case in test["alert_rule_test"]]


@slow
def test_the_rules_are_valid(promtool: Path) -> None:
    assert f"{len(RULES)} rules found" in run(promtool, "check", "rules", "--lint=all", "--lint-fatal", FILE)


@slow
def test_alerts_fire_and_keep_silent_as_they_should(promtool: Path, tmp_path: Path) -> None:
    asked = yaml.safe_load(CASES.read_text())
    # Descriptions are plain sentences, said once; what is computed stands in the summaries.
    plain = yaml.safe_load(FILE.read_text())
    for rule in (rule for group in plain["groups"] for rule in group["rules"] if "alert" in rule):
        del rule["annotations"]["description"]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(plain))
    (tmp_path / "cases.yaml").write_text(yaml.safe_dump({**asked, "rule_files": ["rules.yaml"]}))
    assert "SUCCESS" in run(promtool, "test", "rules", tmp_path / "cases.yaml")


@pytest.mark.parametrize("alert", ALERTS)
def test_every_alert_has_a_case_in_which_it_fires_and_one_in_which_it_does_not(alert: str) -> None:
    assert {bool(case.get("exp_alerts")) for case in cases() if case["alertname"] == alert} == {True, False}


@pytest.mark.parametrize("alert", ALERTS)
def test_every_alert_has_a_runbook_and_says_what_is_wrong_and_what_follows(alert: str) -> None:
    assert f"\n## {alert}\n" in (ROOT / "docs" / "runbooks.md").read_text()
    assert set(ALERTS[alert]["annotations"]) == {"summary", "description"}
    assert ALERTS[alert]["labels"]["severity"] in ("critical", "warning", "info")


def test_there_is_no_runbook_without_an_alert() -> None:
    lines = (ROOT / "docs" / "runbooks.md").read_text().splitlines()
    assert {line.removeprefix("## ") for line in lines if line.startswith("## ")} == set(ALERTS)


def test_every_rule_asks_for_what_is_exported_by_labels_that_it_has() -> None:
    exported = [*of_the_operator(), *of_the_trainer()]
    found = judge([rule["expr"] for rule in RULES])
    assert found.faults == {}
    for series in (each for read in found.series.values() for each in read if each.metric not in RECORDED):
        assert labels_of(series.metric, exported) >= series.labels, series


def test_reasons_and_classes_that_rules_name_are_there() -> None:
    known = {reason.value for reason in Reason} | set(get_args(FailureClass))
    told = [
        part.split('"')[1] for rule in RULES for part in rule["expr"].split("=~")[1:] if "code=~" not in rule["expr"]
    ]
    assert told
    assert {word for text in told for word in text.split("|")} <= known


def labels_of(metric: str, exported: list[Exported]) -> set[str]:
    """Labels that a metric's series have: its own, those of any target, and a bucket's."""
    own = next((set(each.labels) for each in exported if metric in each.series), None)
    assert own is not None, f"nobody exports {metric}"
    return own | {"namespace", "pod", "job", "finetunejob"} | ({"le"} if metric.endswith("_bucket") else set())
