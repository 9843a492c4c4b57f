"""The chart on a real cluster by the commands of docs/install.md: a job that trains meanwhile completes untouched.

Nothing has been published yet, so that the release before is this chart under a lower version and with another setting.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from examples.demo.job import OPERATOR_NAMESPACE, RELEASE, install_operator
from examples.demo.target import Target
from rich.console import Console
from shell_blocks import ROOT, run, shell_blocks
from team import Team

PAGE = shell_blocks(ROOT / "docs" / "install.md")
NAME = "untouched"

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.slow(name="chart on a cluster", minutes=6),
    pytest.mark.timeout(1500),
]


@pytest.fixture
def folder(installed: Target, tmp_path: Path) -> Iterator[Path]:
    """A folder with values for this cluster; the usual installation is there again after the test."""
    values: dict[str, Any] = {"preflight": {"cpu": "500m"}}
    for name, reference in (("operator", installed.operator_image), ("trainer", installed.trainer_image)):
        repository, _, tag = reference.rpartition(":")
        image = {"repository": repository, "tag": tag}
        values |= {"image": image} if name == "operator" else {"trainer": {"image": image}}
    (tmp_path / "values.yaml").write_text(yaml.safe_dump(values))
    run("helm package charts/finetune-operator --version 0.0.9", tmp_path, kubectl=installed.kubectl)
    yield tmp_path
    install_operator(installed, Console())


def workers(team: Team) -> str:
    """A setting of the operator that is installed; empty if none is."""
    deployment = team.kubectl.inside(OPERATOR_NAMESPACE).get("deployment", RELEASE)
    if deployment is None:
        return ""
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    (found,) = [item["value"] for item in container["env"] if item["name"].endswith("_WORKERS")]
    return str(found)


def training(team: Team) -> tuple[str, str, str]:
    """What must not change: the training Job, its only pod, and that it runs."""
    (job,) = [job for job in team.jobs(NAME) if job["metadata"]["name"] == f"{NAME}-train"]
    (pod,) = team.kubectl.items("pods", "-l", f"finetune.dev/job={NAME},finetune.dev/kind=train")
    return job["metadata"]["uid"], pod["metadata"]["uid"], pod["status"]["phase"]


def test_a_running_job_completes_untouched_by_upgrade_rollback_uninstall_and_reinstall(
    installed: Target, team: Team, folder: Path
) -> None:
    def by_the_page(heading: str, number: int = 0, *, chart: str = "charts/finetune-operator") -> None:
        run(PAGE[heading][number].replace("charts/finetune-operator", chart), folder, kubectl=installed.kubectl)

    by_the_page("Uninstall")
    by_the_page("Install", chart="finetune-operator-0.0.9.tgz --set settings.workers=2")
    long = {"tokensPerStep": 64, "learningRate": 0.001, "epochs": 400}
    team.submit(team.job(NAME, train_rows=48, training=long, checkpoint={"everySteps": 1000}))
    team.until(NAME, "training", lambda job: job["status"].get("progress", {}).get("step", 0) > 0)
    before = training(team)
    assert before[2] == "Running"
    # What each step does, and the setting that tells whether it was done.
    steps = {("Upgrade", 0): "16", ("Upgrade", 1): "2", ("Uninstall", 0): "", ("Install", 0): "16"}
    for (heading, number), expected in steps.items():
        by_the_page(heading, number)
        assert (workers(team), training(team)) == (expected, before), (heading, number)
    status = team.completed(NAME, timeout=900)
    assert [attempt["outcome"] for attempt in status["attempts"]] == ["Succeeded"]
    assert training(team)[:2] == before[:2]
    assert status["artifact"]["verified"] is True
