"""Teams that share a GPU through the real Kueue: priorities, preemption, suspension, and what one `describe` tells."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import queues
from console_blocks import blocks, shape
from examples.demo.job import install_operator
from examples.demo.target import Target
from kubectl import Kubectl
from rich.console import Console
from team import Team, make_namespace, team_of

from localcluster import kueue
from localcluster.facts import Facts
from localcluster.layout import layout_of

PAGE = Path(__file__).resolve().parents[2] / "docs" / "queues.md"

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

LONG = {
    "training": {"tokensPerStep": 64, "learningRate": 0.01, "epochs": 80},
    "checkpoint": {"everySteps": 5},
}
"""Long enough to be stopped in the middle, however loaded the machine is."""


@pytest.fixture(scope="module")
def shared(installed: Target, facts: Facts) -> Iterator[Target]:
    """A cluster with Kueue, and an operator that works with it; afterwards the operator is the others' again."""
    kueue.install(layout_of(facts.name), facts)
    installed.kubectl.apply(*queues.shared_objects())
    values = {"kueue.enabled": "true", "kueue.queueSeconds": "2", "preflight.queue": queues.CHECKS}
    install_operator(installed, Console(), values)
    yield installed
    install_operator(installed, Console())


def namespace_of(target: Target, name: str) -> Iterator[Kubectl]:
    target.kubectl.run("delete", "namespace", name, "--ignore-not-found", timeout=300)
    namespace = make_namespace(target, name)
    queues.give_queue(namespace)
    yield namespace
    target.kubectl.run("delete", "namespace", name, "--wait=false")


@pytest.fixture(scope="module")
def research_namespace(shared: Target) -> Iterator[Kubectl]:
    yield from namespace_of(shared, "research")


@pytest.fixture(scope="module")
def support_namespace(shared: Target) -> Iterator[Kubectl]:
    yield from namespace_of(shared, "support")


@pytest.fixture
def research(shared: Target, research_namespace: Kubectl, tiny_model: Path) -> Team:
    """A team whose runs can wait."""
    return team_of(shared, research_namespace)


@pytest.fixture
def support(shared: Target, support_namespace: Kubectl, tiny_model: Path) -> Team:
    """A team whose runs cannot."""
    return team_of(shared, support_namespace)


def queued(priority: str, queue: str = "training") -> dict[str, Any]:
    return {"scheduling": {"queue": queue, "workloadPriorityClass": priority}}


def has_checkpoint(job: dict[str, Any]) -> bool:
    status = job["status"]
    return status.get("progress", {}).get("stage") == "training" and "checkpoint" in status


def is_phase(phase: str) -> Any:
    return lambda job: job["status"].get("phase") == phase


def reason_of(team: Team, name: str) -> str:
    return str(team.condition(name, "Queued").get("reason"))


def train_job(team: Team, name: str) -> dict[str, Any]:
    job = team.kubectl.get("job", f"{name}-train", "--show-managed-fields")
    assert job is not None
    return job


def writers_of_suspend(job: dict[str, Any]) -> set[str]:
    """Who has written a Job's spec.suspend last, by the API server's own records."""
    fields = (entry for entry in job["metadata"]["managedFields"] if "f:suspend" in entry["fieldsV1"].get("f:spec", {}))
    return {entry["manager"] for entry in fields}


def active(team: Team, name: str) -> bool:
    workload = team.kubectl.get("workload", team.get(name)["status"]["queue"]["workload"])
    assert workload is not None
    return bool(workload["spec"]["active"])


def set_suspend(team: Team, name: str, value: str) -> None:
    team.kubectl.run("patch", "ftj", name, "--type=merge", "-p", f'{{"spec":{{"suspend":{value}}}}}')


def check_nothing_is_trained_twice(status: dict[str, Any]) -> None:
    """Each attempt goes on exactly where the one before it was stopped."""
    *stopped, last = status["attempts"]
    assert [attempt["outcome"] for attempt in stopped] == ["Preempted"] * len(stopped)
    assert last["outcome"] == "Succeeded"
    assert [attempt["lostSteps"] for attempt in stopped] == [0] * len(stopped)
    for before, after in zip(stopped, status["attempts"][1:], strict=True):
        assert after["resumedFromStep"] == before["savedStep"] >= before["step"]


@pytest.mark.slow(name="preempted by Kueue", minutes=4)
def test_a_preempted_run_saves_waits_resumes_completes_and_one_describe_tells_it(research: Team, support: Team) -> None:
    research.submit(research.job("nightly-tune", **LONG, **queued("nightly")))
    research.until("nightly-tune", "a checkpoint in training", has_checkpoint)
    uid = train_job(research, "nightly-tune")["metadata"]["uid"]
    support.submit(support.job("urgent-tune", **queued("urgent")))
    research.until("nightly-tune", "Queued again", is_phase("Queued"))
    assert reason_of(research, "nightly-tune") == "Preempted"
    research.until("nightly-tune", "its place", lambda job: job["status"]["queue"].get("position") == 1)
    assert support.completed("urgent-tune")["attempts"][0]["outcome"] == "Succeeded"
    status = research.completed("nightly-tune")
    check_nothing_is_trained_twice(status)
    assert len(status["attempts"]) == 2
    job = train_job(research, "nightly-tune")
    assert job["metadata"]["uid"] == uid
    assert writers_of_suspend(job) == {"kueue"}
    told, _, events = research.kubectl.run("describe", "ftj", "nightly-tune").partition("Events:")
    (page,) = [block for block in blocks(PAGE) if block.command.startswith("kubectl describe ftj nightly-tune")]
    assert shape(told) == shape(page.output.partition("Events:")[0])
    # Which states were short enough to be missed differs from run to run; these are not.
    for reason in ("Queued", "Admitted", "TrainerRunning", "Preempted", "AdapterReady"):
        assert f" {reason} " in events


@pytest.mark.slow(name="two nodes preempted by Kueue", minutes=5)
def test_two_nodes_wait_run_and_leave_their_queue_as_one(research: Team, support: Team) -> None:
    resources = {"nodes": 2, "gpus": {"count": 0}, "cpu": "600m", "memory": "1500Mi", "scratch": "1Gi"}
    research.submit(research.job("pair", **LONG, **queued("nightly", queues.PAIR), resources=resources))
    research.until("pair", "a checkpoint in training", has_checkpoint)
    uid = train_job(research, "pair")["metadata"]["uid"]
    (workload,) = [w for w in research.kubectl.items("workloads") if "pair-train" in w["metadata"]["name"]]
    assert workload["status"]["admission"]["podSetAssignments"][0]["count"] == 2
    support.submit(support.job("single", **queued("urgent", queues.PAIR)))
    research.until("pair", "Queued again", is_phase("Queued"))
    assert reason_of(research, "pair") == "Preempted"
    support.completed("single")
    status = research.completed("pair", timeout=600)
    check_nothing_is_trained_twice(status)
    assert len(status["attempts"]) == 2
    assert "restarts" not in status
    job = train_job(research, "pair")
    assert job["metadata"]["uid"] == uid
    assert writers_of_suspend(job) == {"kueue"}


@pytest.mark.slow(name="suspended in a queue", minutes=4)
def test_a_user_suspends_and_resumes_a_queued_and_a_running_job(research: Team, support: Team) -> None:
    research.submit(research.job("holder", **LONG, **queued("nightly")))
    research.until("holder", "a checkpoint in training", has_checkpoint)
    support.submit(support.job("waiter", **queued("nightly")))
    support.until("waiter", "quota that is missing", lambda _: reason_of(support, "waiter") == "WaitingForQuota")
    set_suspend(support, "waiter", "true")
    support.until("waiter", "Suspended", is_phase("Suspended"))
    assert not active(support, "waiter")
    set_suspend(research, "holder", "true")
    research.until("holder", "Suspended", is_phase("Suspended"))
    assert not active(research, "holder")
    # The GPU is free, and who is suspended does not take it.
    assert train_job(support, "waiter")["spec"]["suspend"] is True
    set_suspend(support, "waiter", "false")
    support.completed("waiter")
    set_suspend(research, "holder", "false")
    check_nothing_is_trained_twice(research.completed("holder"))
    for team, name in ((support, "waiter"), (research, "holder")):
        assert writers_of_suspend(train_job(team, name)) == {"kueue"}


@pytest.mark.slow(name="stopped queue", minutes=3)
def test_a_run_whose_queue_is_drained_goes_on_when_the_queue_does(research: Team) -> None:
    research.submit(research.job("drained", **LONG, **queued("nightly")))
    research.until("drained", "a checkpoint in training", has_checkpoint)
    stop_queue(research, "HoldAndDrain")
    try:
        research.until("drained", "Queued again", is_phase("Queued"))
        assert reason_of(research, "drained") == "Evicted"
        assert "stopped" in research.condition("drained", "Queued")["message"]
        research.submit(research.job("newcomer", **queued("nightly")))
        research.until("newcomer", "a stopped queue", lambda _: reason_of(research, "newcomer") == "QueueStopped")
    finally:
        stop_queue(research, "None")
    check_nothing_is_trained_twice(research.completed("drained"))
    research.completed("newcomer")


def stop_queue(team: Team, policy: str) -> None:
    team.kubectl.run("patch", "localqueue", "training", "--type=merge", "-p", f'{{"spec":{{"stopPolicy":"{policy}"}}}}')


@pytest.mark.slow(name="suspended Job", minutes=3)
def test_a_job_that_somebody_else_suspends_waits_for_that_somebody(research: Team) -> None:
    research.submit(research.job("unqueued", **LONG))
    research.until("unqueued", "a checkpoint in training", has_checkpoint)
    suspend_job(research, "unqueued-train", "true")
    research.until("unqueued", "Suspended", is_phase("Suspended"))
    assert research.condition("unqueued", "Suspended")["reason"] == "SuspendedElsewhere"
    assert writers_of_suspend(train_job(research, "unqueued")) == {"kubectl-patch"}
    suspend_job(research, "unqueued-train", "false")
    check_nothing_is_trained_twice(research.completed("unqueued"))
    assert writers_of_suspend(train_job(research, "unqueued")) == {"kubectl-patch"}


def suspend_job(team: Team, name: str, value: str) -> None:
    team.kubectl.run("patch", "job", name, "--type=merge", "-p", f'{{"spec":{{"suspend":{value}}}}}')


@pytest.mark.slow(name="missing queue", minutes=2)
def test_a_queue_that_does_not_exist_is_named_and_the_job_goes_on_once_it_does(support: Team) -> None:
    support.submit(support.job("early", **queued("urgent", queue="not-yet")))
    support.until("early", "a missing queue", lambda _: reason_of(support, "early") == "QueueNotFound")
    assert "LocalQueue not-yet doesn't exist" in support.get("early")["status"]["message"]
    assert support.condition("early", "Stalled")["status"] == "True"
    checked = support.kubectl.get("job", "early-preflight", "--show-managed-fields")
    assert checked is not None
    assert checked["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == queues.CHECKS
    assert writers_of_suspend(checked) == {"kueue"}
    support.kubectl.apply(queues.local_queue("not-yet", str(support.kubectl.namespace), queues.CLUSTER_QUEUE))
    support.completed("early")
    assert not support.condition("early", "Stalled")


@pytest.mark.slow(name="deadlines in a queue", minutes=3)
def test_a_wait_and_a_run_that_take_too_long_end_and_leave_the_queue(research: Team) -> None:
    waits = {"limits": {"maxQueueSeconds": 10}, **queued("nightly", queue="never-made")}
    research.submit(research.job("waits", **waits))
    runs = {"limits": {"maxRunSeconds": 30}, **LONG, **queued("nightly")}
    research.submit(research.job("runs", **runs))
    waited = research.failed("waits")
    assert (waited["class"], waited["reason"]) == ("Limits", "QueueTimeExceeded")
    assert "given up after 10s, limits.maxQueueSeconds" in waited["message"]
    ran = research.failed("runs")
    assert (ran["class"], ran["reason"]) == ("Limits", "RunTimeExceeded")
    assert [attempt["outcome"] for attempt in research.get("runs")["status"]["attempts"]] == ["Preempted"]

    def in_queues() -> list[str]:
        jobs = ("waits-train", "runs-train")
        return [
            w["metadata"]["name"]
            for w in research.kubectl.items("workloads")
            if any(j in w["metadata"]["name"] for j in jobs)
        ]

    research.kubectl.wait("both have left their queues", lambda: not in_queues(), timeout=60)
