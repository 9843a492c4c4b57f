"""A job's second run, its pinned image, and its end with all that it has written, on the cluster."""

import re

import pytest
from team import Team

pytestmark = [pytest.mark.cluster, pytest.mark.slow(name="runs of one job", minutes=3)]


def test_a_job_runs_again_for_another_run_id_and_leaves_nothing_when_it_is_to_go(team: Team) -> None:
    output = {"uri": team.output("again"), "onDelete": "delete"}
    job = team.job("again", output=output, limits={"ttlSecondsAfterFinished": 0})
    team.submit(job)
    first = team.completed("again")
    assert re.fullmatch(r"[^@]+@sha256:[0-9a-f]{64}", first["image"])
    team.kubectl.wait("Jobs and pods are gone", lambda: not team.jobs("again"), timeout=120)
    assert team.get("again")["status"]["finishedAt"] == first["finishedAt"]

    job["spec"]["runId"] = "second"
    team.submit(job)
    team.until("again", "the second run", lambda found: found["status"].get("runId") == "second")
    second = team.completed("again")
    assert second["artifact"]["uri"].startswith(f"{output['uri']}/reruns/second/runs/0001/")
    assert second["artifact"]["digest"] == first["artifact"]["digest"]
    assert second["artifact"]["uri"] != first["artifact"]["uri"]
    written = team.objects("again")
    assert any(uri.startswith(first["artifact"]["uri"]) for uri in written)

    team.kubectl.run("delete", "ftj", "again", "--wait=true", timeout=300)
    assert team.objects("again") == []
    events = team.kubectl.items("events", "--field-selector", "involvedObject.name=again,reason=ArtifactsDeleted")
    assert len(events) == 1
