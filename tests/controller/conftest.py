"""A real API server for the operator's tests, one for all of them, and an operator that serves one namespace of it."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from kubectl import Kubectl
from operator_process import OperatorProcess

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def team(server: Kubectl, request: pytest.FixtureRequest) -> Kubectl:
    """A namespace of its own for each test; the server goes away as a whole."""
    name = "t-" + hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:10]
    server.run("create", "namespace", name)
    return server.inside(name)


@pytest.fixture
def operator(team: Kubectl, tmp_path: Path) -> Iterator[OperatorProcess]:
    """An operator that serves the test's namespace."""
    with OperatorProcess(team, tmp_path / "operator.log", "--namespaces", str(team.namespace)) as process:
        yield process
