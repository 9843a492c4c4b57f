"""Deletion of a FinetuneJob with its output, on a real API server: cascades, namespaces, an operator that was away."""

import cluster_objects as o
import pytest
from kubectl import Kubectl
from operator_process import OperatorProcess
from played_job import children, end, live_pod, run_to_completion, start, submit, until_phase

from finetune_api.report import CleanupSummary

pytestmark = pytest.mark.cluster

DELETE: o.Raw = {**o.SPEC["output"], "onDelete": "delete"}
FINALIZER = "finetune.dev/artifacts"


def delete(team: Kubectl, cascade: str = "background") -> None:
    team.run("delete", "ftj", o.NAME, "--wait=false", f"--cascade={cascade}")


def cleaned() -> str:
    return o.report("cleanup", cleanup=CleanupSummary(removed=7, left=[]))


def is_gone(team: Kubectl) -> bool:
    return team.get("ftj", o.NAME) is None


def reasons(team: Kubectl) -> list[str]:
    return [event["reason"] for event in team.items("events", "--field-selector", f"involvedObject.name={o.NAME}")]


@pytest.mark.parametrize("cascade", ["background", "foreground"])
def test_the_output_is_removed_before_the_job_is_gone(team: Kubectl, operator: OperatorProcess, cascade: str) -> None:
    submit(team, output=DELETE)
    run_to_completion(team)
    assert (team.get("ftj", o.NAME) or {})["metadata"]["finalizers"] == [FINALIZER]
    delete(team, cascade)
    end(team, "cleanup", 0, cleaned())
    team.wait("job is gone", lambda: is_gone(team), timeout=30)
    assert "ArtifactsDeleted" in reasons(team)
    team.wait("no Job is left", lambda: not children(team), timeout=30)


def test_a_trainer_at_work_is_stopped_first(team: Kubectl, operator: OperatorProcess) -> None:
    submit(team, output=DELETE)
    end(team, "preflight", 0, o.passed())
    pod = start(team, "train")
    until_phase(team, "Running")
    delete(team)
    name = pod["metadata"]["name"]
    team.wait("pod is asked to stop", lambda: "deletionTimestamp" in live_pod(team, "train")["metadata"], timeout=30)
    assert not [job for job in children(team) if job["metadata"]["name"].endswith("-cleanup")]
    end(team, "train", 75, "")
    team.run("delete", "pod", name, "--grace-period=0", "--force", "--ignore-not-found")
    end(team, "cleanup", 0, cleaned())
    team.wait("job is gone", lambda: is_gone(team), timeout=30)


def test_a_namespace_is_not_held_up(server: Kubectl, team: Kubectl, operator: OperatorProcess) -> None:
    submit(team, output=DELETE)
    run_to_completion(team)
    server.run("delete", "namespace", str(team.namespace), "--wait=false")
    team.wait("namespace is gone", lambda: server.get("namespace", str(team.namespace)) is None, timeout=90)
    assert "is left: " in operator.log()


def test_what_was_deleted_while_the_operator_was_away_is_done_when_it_is_back(
    team: Kubectl, operator: OperatorProcess
) -> None:
    submit(team, output=DELETE)
    submit(team, "keeps")
    run_to_completion(team)
    operator.kill()
    delete(team)
    team.run("delete", "ftj", "keeps", "--wait=true")
    assert not is_gone(team)
    operator.start()
    end(team, "cleanup", 0, cleaned())
    team.wait("job is gone", lambda: is_gone(team), timeout=30)
    assert "ArtifactsDeleted" in reasons(team)
