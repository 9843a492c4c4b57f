"""Fixtures and options that every test shares: the local cluster, and which slow cases run."""

import hashlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from api_server import api_server
from division import Division
from full_run import FullRun
from kubectl import Kubectl
from sampling import SlowRun, choose

from finetune_operator.generate import TARGETS
from localcluster import facts as cluster_facts

ROOT = Path(__file__).resolve().parents[1]
CLUSTER_MINUTES, OTHER_MINUTES = 7, 3
"""Without --full, slow cases on the cluster and slow cases without it run for about this long."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="run every slow case; passed ones are not run again")
    parser.addoption("--sample-seed", default=None, help="choose the slow cases by this instead of the commit")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--full"):
        config.pluginmanager.register(FullRun(ROOT), "full-run")
    if hasattr(config, "workerinput"):
        # One of several processes, which would else take every core each.
        os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Division:
    return Division(config, log)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep a sample of the slow cases that the commit chooses: reproducible, and another one next time."""
    if config.getoption("--full"):
        return
    runs = {
        item: SlowRun(**mark.kwargs, on_cluster=item.get_closest_marker("cluster") is not None)
        for item in items
        if (mark := item.get_closest_marker("slow"))
    }
    seed = config.getoption("--sample-seed") or _commit()
    chosen = choose(runs.values(), seed, cluster_minutes=CLUSTER_MINUTES, other_minutes=OTHER_MINUTES)
    left_out = {item for item, run in runs.items() if run.name not in chosen}
    if left_out:
        config.hook.pytest_deselected(items=list(left_out))
        items[:] = [item for item in items if item not in left_out]


def _commit() -> str:
    command = ["git", "rev-parse", "HEAD"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()


@pytest.fixture(scope="session")
def facts() -> cluster_facts.Facts:
    """Facts of the running local cluster (`make cluster`)."""
    return cluster_facts.load("default")


@pytest.fixture(scope="session")
def kubectl(facts: cluster_facts.Facts) -> Kubectl:
    """An administrator's kubectl on the local cluster."""
    return Kubectl(facts.binaries / "kubectl", facts.kubeconfig)


@pytest.fixture
def namespace(kubectl: Kubectl, request: pytest.FixtureRequest) -> Iterator[Kubectl]:
    """A fresh namespace, gone after the test."""
    name = "t-" + hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:10]
    kubectl.run("delete", "namespace", name, "--ignore-not-found")
    kubectl.run("create", "namespace", name)
    yield kubectl.inside(name)
    kubectl.run("delete", "namespace", name, "--wait=false")


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kubectl]:
    """An API server of its own that knows this tree's FinetuneJobs; nothing in it runs pods."""
    with api_server(tmp_path_factory.mktemp("api-server")) as kubectl:
        kubectl.run("apply", "-f", str(ROOT / TARGETS[0]))
        kubectl.established("crd/finetunejobs.finetune.dev")
        yield kubectl
