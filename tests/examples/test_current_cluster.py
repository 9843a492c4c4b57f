"""`make demo CLUSTER=current`: the demo on somebody's own cluster, with their operator and their S3."""

import re
from pathlib import Path

import pytest
from api_server import api_server
from examples.demo import watch
from examples.demo.example import Example
from examples.demo.target import CURRENT_NEEDS, DemoError, Target, find_target
from kubectl import Kubectl
from rich.console import Console
from shell_blocks import ROOT

pytestmark = pytest.mark.cluster

ENVIRONMENT = {
    "CLUSTER": "current",
    "DEMO_BUCKET": "theirs",
    "AWS_ACCESS_KEY_ID": "key",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "AWS_SESSION_TOKEN": "token",
    "AWS_ENDPOINT_URL": "https://s3.example.com",
    "AWS_REGION": "eu-central-1",
}


def found(monkeypatch: pytest.MonkeyPatch, kubectl: Kubectl, **changes: str) -> Target:
    """The target that this environment names."""
    for name, value in (ENVIRONMENT | changes).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("KUBECONFIG", str(kubectl.kubeconfig))
    monkeypatch.setenv("PATH", str(kubectl.binary.parent))
    return find_target(Console())


def test_everything_lies_in_their_bucket_and_the_operator_stays_theirs(
    server: Kubectl, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = found(monkeypatch, server)
    assert (target.model_uri, target.team_uri) == ("s3://theirs/models/smollm2-135m-instruct", "s3://theirs/team-a")
    assert (target.storage_spec.endpoint, target.storage_spec.region) == ("https://s3.example.com", "eu-central-1")
    assert set(target.keys) == {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"}
    assert target.operator_image == ""


def test_a_cluster_without_the_operator_is_told_where_to_begin(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with api_server(tmp_path) as bare, pytest.raises(DemoError, match=r"docs/install\.md"):
        found(monkeypatch, bare)


@pytest.mark.parametrize("name", CURRENT_NEEDS)
def test_what_the_environment_lacks_is_named(server: Kubectl, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    with pytest.raises(DemoError, match=name):
        found(monkeypatch, server, **{name: ""})


def test_the_page_names_all_that_is_needed() -> None:
    page = (ROOT / "docs" / "install.md").read_text().split("## Try it with an example")[1].split("\n## ")[0]
    assert set(re.findall(r"\b(?:AWS|DEMO)_[A-Z_]+", page)) >= {*CURRENT_NEEDS, "AWS_ENDPOINT_URL", "AWS_CA_BUNDLE"}


def test_a_job_that_no_operator_looks_at_is_not_waited_for(server: Kubectl, monkeypatch: pytest.MonkeyPatch) -> None:
    target, name = found(monkeypatch, server), "order-desk-1"
    manifest = Example.load("order-desk").manifest_for(target, name, seed=0, adapter_uri=None)
    server.run("create", "namespace", "unseen")
    server.apply(manifest | {"metadata": {"name": name, "namespace": "unseen"}})
    monkeypatch.setattr(watch, "TEAM", "unseen")
    monkeypatch.setattr(watch, "UNSEEN_SECONDS", 0)
    monkeypatch.setattr(watch, "POLL_SECONDS", 0.1)
    with pytest.raises(DemoError, match="no operator looks at order-desk-1"):
        watch.follow(target, name, Console())
    server.inside("unseen").run("delete", "ftj", name)
