"""Two operators on a real API server: one acts, the other takes over, and what the first wrote is never done twice."""

import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import pytest
from api_server import AUDIT_LOG
from audit import Write, writes
from kubectl import Kubectl
from operator_account import identity
from operator_process import OperatorProcess
from played_job import children, run_to_completion, settled, submit

from finetune_operator.rights import LEASE, RIGHTS

pytestmark = pytest.mark.cluster

Pair = dict[str, OperatorProcess]
NAMES = ("first", "second")
JOBS = [f"tune-{number}" for number in range(24)]


@pytest.fixture
def pair(team: Kubectl, tmp_path: Path) -> Iterator[Pair]:
    """Two replicas with an account each, so slow that two dozen jobs keep them busy for seconds."""
    flags = ("--namespaces", str(team.namespace), "--lease", f"{team.namespace}/operator", "--requests-per-second", "5")
    with ExitStack() as stack:
        yield {
            name: stack.enter_context(
                OperatorProcess(identity(team, (*RIGHTS, LEASE), tmp_path, name), tmp_path / f"{name}.log", *flags)
            )
            for name in NAMES
        }


def leader(pair: Pair) -> str:
    (name,) = [name for name, replica in pair.items() if replica.leads()]
    return name


def written(team: Kubectl, name: str) -> list[Write]:
    """What a replica wrote, but for Leases."""
    assert team.kubeconfig is not None
    user = f"system:serviceaccount:{team.namespace}:{name}"
    seen = writes(team.kubeconfig.parent / AUDIT_LOG, str(team.namespace))
    return [write for write in seen if write.user == user and write.resource != "leases"]


def made(team: Kubectl) -> list[str]:
    return [job["metadata"]["name"] for job in team.items("jobs")]


def test_the_standby_is_ready_and_writes_nothing(team: Kubectl, pair: Pair) -> None:
    submit(team)
    team.wait("preflight Job", lambda: children(team), timeout=30)
    first = leader(pair)
    (other,) = set(NAMES) - {first}
    assert all(replica.get(path)[0] == 200 for replica in pair.values() for path in ("/readyz", "/healthz"))
    settled(team)
    assert written(team, first)
    assert written(team, other) == []


def test_a_leader_that_is_asked_to_stop_is_followed_at_once(team: Kubectl, pair: Pair) -> None:
    first = leader(pair)
    (other,) = set(NAMES) - {first}
    assert pair[first].ask_to_stop() == 0
    # A third of what the Lease of one that was killed would take.
    team.wait("the other acts", pair[other].leads, timeout=5, interval=0.1)
    submit(team)
    assert run_to_completion(team)["phase"] == "Complete"


@pytest.mark.slow(name="replicas", minutes=2)
@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "frozen"])
def test_a_leader_struck_amid_its_work_is_replaced_within_20_seconds_without_double_or_loss(
    team: Kubectl, pair: Pair, blow: signal.Signals
) -> None:
    first = leader(pair)
    (other,) = set(NAMES) - {first}
    submit(team, *JOBS)
    team.wait("some Jobs are made", lambda: len(made(team)) >= 2, timeout=30, interval=0.05)
    pair[first].send(blow)
    assert len(made(team)) < len(JOBS)
    team.wait("the other acts", lambda: written(team, other), timeout=20, interval=0.2)
    team.wait("every job has its Job", lambda: len(made(team)) == len(JOBS), timeout=60)
    thawed = datetime.now(UTC)
    if blow == signal.SIGSTOP:
        pair[first].send(signal.SIGCONT)
    assert pair[first].ended() == (1 if blow == signal.SIGSTOP else -signal.SIGKILL)
    settled(team)
    assert [write for write in written(team, first) if write.at >= thawed] == []
    created = Counter(
        write.name
        for name in NAMES
        for write in written(team, name)
        if (write.verb, write.resource, write.code) == ("create", "jobs", 201)
    )
    assert created == Counter(f"{name}-preflight" for name in JOBS)
    assert run_to_completion(team, JOBS[-1])["phase"] == "Complete"
