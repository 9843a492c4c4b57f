"""API servers that know nothing of FinetuneJobs until the chart is installed."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from api_server import api_server
from helm_release import Release
from kubectl import Kubectl

TESTS = Path(__file__).parents[1]


@pytest.fixture
def previous(tmp_path: Path) -> Path:
    """The chart of the release before this one, with the definition that it brought."""
    chart = tmp_path / "previous"
    shutil.copytree(TESTS / "chart" / "data" / "previous", chart)
    (chart / "files").mkdir()
    shutil.copy(TESTS / "data" / "releases" / "0.1.0" / "crd.yaml", chart / "files" / "finetune.dev_finetunejobs.yaml")
    return chart


@pytest.fixture(scope="session")
def bare_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kubectl]:
    """One for all of them."""
    with api_server(tmp_path_factory.mktemp("bare-api-server")) as kubectl:
        kubectl.run("create", "namespace", "finetune-system")
        yield kubectl


@pytest.fixture
def release(bare_server: Kubectl) -> Iterator[Release]:
    """A release that is not installed yet; nothing of it, its CRD and its jobs is left after the test."""
    release = Release(bare_server.inside("finetune-system"))
    yield release
    release.tried("uninstall", release.name, "--wait")
    bare_server.run("delete", "crd", "finetunejobs.finetune.dev", "--ignore-not-found", "--wait=true")
