"""A cluster is lost, its S3 is not: the same job, applied to a new and empty cluster, adopts its finished output."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from examples.demo import job as demo_job
from examples.demo.target import embedded_target
from rich.console import Console
from team import Team, make_namespace, team_of, upload_tiny_model
from tiny_model import make_tiny_model

from localcluster import images, lifecycle
from localcluster.layout import Layout, layout_of

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.slow(name="disaster", minutes=6),
    pytest.mark.timeout(1200),
]


@pytest.fixture
def layout() -> Iterator[Layout]:
    """A second cluster, to be lost."""
    layout = layout_of("disaster")
    lifecycle.down(layout, purge=True)
    yield layout
    lifecycle.down(layout, purge=True)


def team_on(layout: Layout) -> Team:
    """Start the cluster, install the operator, let a team in."""
    found = lifecycle.up(layout)
    images.push_images(layout, found)
    target = embedded_target(found)
    demo_job.install_operator(target, Console())
    return team_of(target, make_namespace(target, "team-a"))


def lose(layout: Layout) -> None:
    """Stop the cluster and wipe all that Kubernetes knew; S3 and the node's image cache stay."""
    lifecycle.down(layout, purge=False)
    shutil.rmtree(layout.data / "etcd")


def test_a_job_applied_to_an_empty_cluster_adopts_its_output_and_trains_nothing(layout: Layout, tmp_path: Path) -> None:
    team = team_on(layout)
    upload_tiny_model(make_tiny_model(tmp_path / "tiny"), team.storage)
    manifest = team.job("lost")
    team.submit(manifest)
    before = team.completed("lost")
    lose(layout)
    fresh = team_on(layout)
    assert fresh.kubectl.items("ftj") == []
    fresh.submit(manifest)
    after = fresh.completed("lost")
    assert (after["artifact"], after["evaluation"]) == (before["artifact"], before["evaluation"])
    assert fresh.condition("lost", "Complete")["reason"] == "OutputAdopted"
    assert [child["metadata"]["name"] for child in fresh.jobs("lost")] == ["lost-preflight"]
