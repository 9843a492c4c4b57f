"""The operator installed by its chart on the local cluster, and a team that uses it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from example_run import run_example
from examples.demo import job as demo_job
from examples.demo.example import Example
from examples.demo.target import Target, find_target
from kubectl import Kubectl
from rich.console import Console
from team import Team, make_namespace, team_of, upload_tiny_model
from tiny_model import make_tiny_model

TEAM = "e2e-team"


@pytest.fixture(scope="session")
def target() -> Target:
    """The embedded cluster with images, as the demo finds it."""
    return find_target(Console())


@pytest.fixture(scope="session")
def installed(target: Target) -> Target:
    """The operator, installed by Helm."""
    demo_job.install_operator(target, Console())
    return target


@pytest.fixture(scope="session")
def tiny_model(installed: Target, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random model, on disk and in S3."""
    directory = make_tiny_model(tmp_path_factory.mktemp("tiny"))
    upload_tiny_model(directory, installed.storage)
    return directory


@pytest.fixture(scope="session")
def team_namespace(installed: Target) -> Iterator[Kubectl]:
    """A restricted namespace with the team's credentials."""
    installed.kubectl.run("delete", "namespace", TEAM, "--ignore-not-found", timeout=300)
    yield make_namespace(installed, TEAM)
    installed.kubectl.run("delete", "namespace", TEAM, "--wait=false")


@pytest.fixture
def team(installed: Target, team_namespace: Kubectl, tiny_model: Path) -> Team:
    """The team, with a prefix of its own for this test."""
    return team_of(installed, team_namespace)


@pytest.fixture(scope="module")
def shared_team(installed: Target, team_namespace: Kubectl, tiny_model: Path) -> Team:
    """The same for a whole module, for cases that run side by side."""
    return team_of(installed, team_namespace)


@pytest.fixture(scope="session")
def finished(installed: Target, team_namespace: Kubectl, tiny_model: Path) -> Team:
    """A team with a job called `finished` that is, one for every test that looks at it and keeps its output."""
    team = team_of(installed, team_namespace)
    team.submit(team.job("finished"))
    team.completed("finished")
    return team


@pytest.fixture(scope="session")
def order_desk(installed: Target) -> dict[str, Any]:
    """A finished run of the README's example, one for every test that looks at it."""
    return run_example(installed, Example.load("order-desk"))
