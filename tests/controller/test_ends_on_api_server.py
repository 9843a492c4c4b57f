"""Jobs that the operator itself ends, on a real API server with the real Job controller."""

import cluster_objects as o
import pytest
from kubectl import Kubectl
from operator_process import OperatorProcess
from played_job import children, end, live_pod, play, run_to_completion, settled, start, status, submit, until_phase

from finetune_api.digest import spec_digest
from finetune_api.spec.job import FinetuneJobSpec

pytestmark = pytest.mark.cluster


def warnings(team: Kubectl) -> list[str]:
    events = team.items("events", "--field-selector", f"involvedObject.name={o.NAME}")
    return [event["reason"] for event in events if event["type"] == "Warning"]


def no_children(team: Kubectl) -> bool:
    return all("deletionTimestamp" in job["metadata"] for job in children(team))


def test_training_that_has_used_its_time_up_saves_its_state_and_fails(team: Kubectl, operator: OperatorProcess) -> None:
    submit(team, limits={"maxRunSeconds": 3600})
    end(team, "preflight", 0, o.passed())
    pod = start(team, "train")  # months ago, by its container's status
    team.wait("pod is asked to stop", lambda: "deletionTimestamp" in live_pod(team, "train")["metadata"], timeout=30)
    assert status(team)["phase"] == "Running"
    end(team, "train", 75, "")
    team.run("delete", "pod", pod["metadata"]["name"], "--grace-period=0", "--force", "--ignore-not-found")
    failed = until_phase(team, "Failed")
    assert (failed["failure"]["class"], failed["failure"]["reason"]) == ("Limits", "RunTimeExceeded")
    assert failed["runSeconds"] == 600
    assert [attempt["outcome"] for attempt in failed["attempts"]] == ["Preempted"]
    team.wait("training Job is gone", lambda: [job["metadata"]["name"] for job in children(team)] == ["tune-preflight"])
    assert warnings(team) == ["RunTimeExceeded"] * 2


def test_an_image_that_cannot_be_pulled_ends_the_job_and_its_pod(team: Kubectl, operator: OperatorProcess) -> None:
    submit(team, limits={"maxPendingSeconds": 2})
    play(team, "preflight", {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}, "Pending")
    failed = until_phase(team, "Failed")
    assert failed["failure"]["reason"] == "ImagePullFailed"
    assert "no such image (given up after 2s, limits.maxPendingSeconds)" in failed["message"]
    team.wait("Job is being removed", lambda: no_children(team), timeout=30)
    assert warnings(team) == ["ImagePullFailed"] * 2


def test_a_finished_job_runs_again_for_another_run_id_only(team: Kubectl, operator: OperatorProcess) -> None:
    submit(team)
    first = run_to_completion(team)
    former = {job["metadata"]["uid"] for job in children(team)}
    submit(team, limits={"retries": 5})
    settled(team, 1)
    assert {job["metadata"]["uid"] for job in children(team)} == former
    submit(team, runId="second")
    team.wait("former Jobs are gone", lambda: not former & {job["metadata"]["uid"] for job in children(team)})
    digest = spec_digest(FinetuneJobSpec.model_validate({**o.SPEC, "runId": "second"}))
    end(team, "preflight", 0, o.passed().replace(o.DIGEST, digest))
    end(team, "train", 0, o.trained().replace(o.DIGEST, digest))
    done = until_phase(team, "Complete")
    assert (done["runId"], done["specDigest"]) == ("second", digest)
    assert done["attempts"][0]["uid"] != first["attempts"][0]["uid"]
    assert len(done["attempts"]) == 1


def test_a_container_killed_for_memory_twice_is_not_started_a_third_time(
    team: Kubectl, operator: OperatorProcess
) -> None:
    submit(team, limits={"retries": 9})
    end(team, "preflight", 0, o.passed())
    killed = {"exitCode": 137, "reason": "OOMKilled", "startedAt": o.START, "finishedAt": o.END}
    for _ in range(2):
        play(team, "train", {"terminated": killed}, "Failed")
    failed = until_phase(team, "Failed")
    assert failed["failure"]["class"] == "OutOfMemory"
    assert failed["failure"]["node"] == "nowhere"
    assert [attempt["outcome"] for attempt in failed["attempts"]] == ["Failed", "Failed"]
    team.wait("training Job is gone", lambda: [job["metadata"]["name"] for job in children(team)] == ["tune-preflight"])
