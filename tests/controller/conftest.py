"""A real API server for the operator's tests, one for all of them, and an operator that serves one namespace of it."""

import hashlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from api_server import api_server
from kubectl import Kubectl
from operator_process import OperatorProcess

from finetune_operator.generate import TARGETS
from localcluster.build import KUEUE, module_folder

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def team(server: Kubectl, request: pytest.FixtureRequest) -> Kubectl:
    """A namespace of its own for each test; the server goes away as a whole."""
    name = "t-" + hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:10]
    server.run("create", "namespace", name)
    return server.inside(name)


@pytest.fixture(scope="session")
def queueing_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kubectl]:
    """An API server that knows Kueue's Workloads too, by Kueue's own definition; no Kueue is there."""
    with api_server(tmp_path_factory.mktemp("queueing-api-server")) as kubectl:
        chart = module_folder(KUEUE) / "charts" / "kueue"
        definition = ("--show-only", "templates/crd/kueue.x-k8s.io_workloads.yaml")
        command = (kubectl.binary.with_name("helm"), "template", "kueue", chart, *definition)
        made = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        # Too large for the annotation in which a plain `apply` keeps what it applied.
        kubectl.run("apply", "--server-side", "-f", "-", stdin=made)
        kubectl.run("apply", "-f", str(ROOT / TARGETS[0]))
        kubectl.established("crd/workloads.kueue.x-k8s.io", "crd/finetunejobs.finetune.dev")
        yield kubectl


@pytest.fixture
def queueing_team(queueing_server: Kubectl, request: pytest.FixtureRequest) -> Kubectl:
    """A namespace of its own on the server that knows Workloads."""
    name = "t-" + hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:10]
    queueing_server.run("create", "namespace", name)
    return queueing_server.inside(name)


@pytest.fixture
def operator(team: Kubectl, tmp_path: Path) -> Iterator[OperatorProcess]:
    """An operator that serves the test's namespace."""
    with OperatorProcess(team, tmp_path / "operator.log", "--namespaces", str(team.namespace)) as process:
        yield process
