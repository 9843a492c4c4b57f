"""Two operators in pods, as the chart installs them: the leader is struck amid its work, and the other takes over.

`tests/controller/test_two_replicas.py` claims the same of two processes; here are their pods, tokens, probes and node
too. What each pod wrote is told by the API server's audit log, which names the pod of a service account's token.
"""

import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from audit import Write, writes
from examples.demo.job import OPERATOR_NAMESPACE, install_operator
from examples.demo.target import Target
from kubectl import KubectlError
from operator_pods import OperatorPods
from rich.console import Console
from team import Team

from localcluster.facts import Facts
from localcluster.layout import layout_of

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

TAINT = "finetune.dev/e2e-held"
SLOW = {"settings.requestsPerSecond": "8", "settings.workers": "4"}
"""So that a dozen jobs keep an operator busy for seconds."""
STRUCK_AFTER = 6
"""Jobs: more than the first burst of requests makes."""
PROMISED_SECONDS = 20
PATIENCE = 2
"""The promise is for a machine that has time."""


@dataclass(frozen=True)
class Trail:
    """What the operator's pods have written since a test began."""

    log: Path
    start: int
    namespace: str

    def writes(self) -> list[Write]:
        """In the team's namespace."""
        return writes(self.log, self.namespace, start=self.start)

    def made(self) -> list[Write]:
        """The Jobs that were really created."""
        wanted = ("create", "jobs", 201)
        return [write for write in self.writes() if (write.verb, write.resource, write.code) == wanted]

    def without_lease(self) -> list[Write]:
        """Writes of pods that were not the last to write the Lease."""
        leases = [w for w in writes(self.log, OPERATOR_NAMESPACE, start=self.start) if w.resource == "leases"]
        found, holder = [], ""
        for write in sorted([*self.writes(), *leases], key=lambda write: write.at):
            if write.resource == "leases":
                holder = write.pod if write.code in (200, 201) else holder
            elif holder not in ("", write.pod):
                found.append(write)
        return found


@pytest.fixture(scope="module")
def pair(installed: Target, facts: Facts) -> Iterator[OperatorPods]:
    """Two replicas, slow ones, on a node that can be kept from running anything else."""
    tolerated = {"tolerations[0].key": TAINT, "tolerations[0].operator": "Exists"}
    install_operator(installed, Console(), {"replicas": "2", **SLOW, **tolerated})
    pods = OperatorPods(installed.kubectl.inside(OPERATOR_NAMESPACE), facts.name)
    pods.kubectl.wait("two pods, of which one acts", lambda: len(pods.names()) == 2 and pods.leader() in pods.names())
    yield pods
    install_operator(installed, Console())


@pytest.fixture
def held(team: Team) -> Iterator[None]:
    """No pod of a job starts, which would take the machine from what is tried; until `let_go`."""
    team.kubectl.run("taint", "node", "--all", "--overwrite", f"{TAINT}=yes:NoSchedule")
    yield
    team.kubectl.run("delete", "ftj", "--all", "--wait=true")
    let_go(team)


def let_go(team: Team) -> None:
    with suppress(KubectlError):  # where that was done before
        team.kubectl.run("taint", "node", "--all", f"{TAINT}-")


@pytest.fixture
def trail(team: Team, facts: Facts) -> Trail:
    log = layout_of(facts.name).audit_log
    assert log.exists(), "this cluster was started without an audit log: `make cluster-down` first"
    return Trail(log, log.stat().st_size, str(team.kubectl.namespace))


def send(process: int, number: signal.Signals) -> datetime:
    """Send a signal; when that was."""
    os.kill(process, number)
    return datetime.now(UTC)


def thaw(pair: OperatorPods, name: str, process: int) -> datetime:
    """Let a frozen process go on, which has to find out what happened and to end; when that was."""
    restarts = pair.container(name)["restartCount"]
    thawed = send(process, signal.SIGCONT)
    pair.kubectl.wait(
        "the thawed process has ended and its pod stands by",
        lambda: pair.container(name)["restartCount"] > restarts and pair.container(name)["ready"],
        timeout=120,
    )
    assert pair.container(name)["lastState"]["terminated"]["exitCode"] == 1
    assert "ends so that no two replicas act" in pair.kubectl.run("logs", name, "--previous")
    return thawed


@pytest.mark.slow(name="replicas in pods", minutes=5)
@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "frozen"])
@pytest.mark.usefixtures("held")
def test_a_leader_struck_amid_its_work_is_replaced_without_double_or_loss(
    pair: OperatorPods, team: Team, trail: Trail, blow: signal.Signals
) -> None:
    early, later = [f"{blow.name.lower()}-{number}" for number in range(12)], f"{blow.name.lower()}-later"
    everybody = [*early, later]
    manifests = {name: team.job(name) for name in everybody}
    first, transitions = pair.leader(), pair.lease()["leaseTransitions"]
    (other,) = set(pair.names()) - {first}
    process = pair.process(first)

    team.kubectl.apply(*(manifests[name] for name in early))
    team.kubectl.wait("some Jobs are made", lambda: len(trail.made()) >= STRUCK_AFTER, timeout=60, interval=0.02)
    struck = send(process, blow)
    assert len(trail.made()) < len(early), "it had done its work already"
    team.submit(manifests[later])
    team.kubectl.wait("every job has its Job", lambda: len(trail.made()) >= len(everybody), timeout=120)
    thawed = thaw(pair, first, process) if blow == signal.SIGSTOP else datetime.now(UTC)
    time.sleep(10)

    assert Counter(write.name for write in trail.made()) == Counter(f"{name}-preflight" for name in everybody)
    assert trail.without_lease() == []
    assert [write for write in trail.writes() if write.pod == first and write.at > thawed] == []
    assert (pair.leader(), pair.lease()["leaseTransitions"]) == (other, transitions + 1)
    pair.kubectl.wait("both pods are there", lambda: all(pair.container(name)["ready"] for name in pair.names()))
    assert [name for name in pair.names() if pair.leads(name)] == [other]
    statuses = [team.get(name)["status"] for name in everybody]
    assert {(status["phase"], status["observedGeneration"]) for status in statuses} == {("Validating", 1)}
    assert len({status["message"] for status in statuses}) == 1, "whoever made its Job, they all wait for the same"

    acted = [write.at for write in trail.writes() if write.pod == other]
    served = [write.at for write in trail.made() if write.name == f"{later}-preflight"]
    waits = [(moment - struck).total_seconds() for moment in (acted[0], *served)]
    print(f"\n{blow.name}: the other wrote after {waits[0]:.1f} s, and made a new job's Job after {waits[1]:.1f} s")
    assert max(waits) < PATIENCE * PROMISED_SECONDS

    team.kubectl.run("delete", "ftj", *early[1:], "--wait=true")
    let_go(team)
    for name in (early[0], later):
        assert team.completed(name)["artifact"]["verified"] is True
        assert sorted(job["metadata"]["name"] for job in team.jobs(name)) == [f"{name}-preflight", f"{name}-train"]
    assert set(Counter(write.name for write in trail.made()).values()) == {1}
    assert trail.without_lease() == []
