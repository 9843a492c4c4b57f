"""Who may act, by tables: the rules of the Lease, and an election of operators whose time costs nothing."""

import asyncio
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Any

import pytest
from virtual_time import run_virtually

from finetune_operator import lease as rules
from finetune_operator.election import Election
from finetune_operator.errors import ConflictError, LeadershipLostError, UnavailableError
from finetune_operator.lease import LEASE_SECONDS, RENEW_SECONDS, Lease, Sighting, claim, may_act, may_take, see

NOW = datetime(2026, 1, 31, 12, 0, 0, 250_000, tzinfo=UTC)
PLACE = ("system", "operator")


def lease(holder: str = "a", *, renewed: int = 0, seconds: int = LEASE_SECONDS, transitions: int = 3) -> Lease:
    return Lease(
        holder=holder,
        seconds=seconds,
        acquired_at="earlier",
        renewed_at=f"renewal {renewed}",
        transitions=transitions,
        metadata={"resourceVersion": str(renewed)},
    )


def sighting(found: Lease | None, until: float) -> Sighting:
    return Sighting(lease=found, held_until=until)


@pytest.mark.parametrize(
    ("before", "found", "until"),
    [
        pytest.param(None, None, 100, id="nobody ever held it"),
        pytest.param(None, lease(), 115, id="the first look waits the whole time, whatever the record's clock says"),
        pytest.param(sighting(lease(), 105), lease(), 105, id="nothing changed: the wait goes on"),
        pytest.param(sighting(lease(), 105), lease(renewed=1), 115, id="renewed: it begins anew"),
        pytest.param(sighting(lease(), 105), lease("b"), 115, id="another holder"),
        pytest.param(None, lease(seconds=60), 160, id="a holder of another version says how long"),
        pytest.param(sighting(lease(), 105), lease(""), 100, id="released: free at once"),
        pytest.param(sighting(lease(), 105), None, 105, id="deleted: its holder does not know yet"),
    ],
)
def test_a_lease_is_held_from_when_its_record_was_seen_to_change(
    before: Sighting | None, found: Lease | None, until: float
) -> None:
    assert see(before, found, 100.0) == sighting(found, until)


def test_the_version_to_write_against_is_the_newest_though_the_record_is_the_same() -> None:
    touched = Lease(
        **{**{name: getattr(lease(), name) for name in Lease.__slots__}, "metadata": {"resourceVersion": "9"}}
    )
    found = see(sighting(lease(), 105), touched, 100.0).lease
    assert found is not None
    assert found.metadata == {"resourceVersion": "9"}


@pytest.mark.parametrize(
    ("seen", "now", "free"),
    [
        (sighting(lease(), 115), 114.9, False),
        (sighting(lease(), 115), 115.0, True),
        (sighting(lease("me"), 115), 100.0, True),
        (sighting(None, 115), 114.9, False),
        (sighting(None, 100), 100.0, True),
    ],
)
def test_it_is_taken_when_it_is_free_or_ones_own(seen: Sighting, now: float, free: bool) -> None:
    assert may_take(seen, "me", now) is free


@pytest.mark.parametrize(
    ("found", "acquired", "transitions"),
    [
        pytest.param(None, "2026-01-31T12:00:00.250000Z", 0, id="the first"),
        pytest.param(lease("a"), "2026-01-31T12:00:00.250000Z", 4, id="from another"),
        pytest.param(lease(""), "2026-01-31T12:00:00.250000Z", 4, id="from one that stepped down"),
        pytest.param(lease("me"), "earlier", 3, id="renewed"),
    ],
)
def test_what_is_written(found: Lease | None, acquired: str, transitions: int) -> None:
    spec = claim(found, "me", NOW)
    assert spec == {
        "holderIdentity": "me",
        "leaseDurationSeconds": 15,
        "acquireTime": acquired,
        "renewTime": "2026-01-31T12:00:00.250000Z",
        "leaseTransitions": transitions,
    }


def test_a_holder_has_stopped_writing_long_before_another_can_begin() -> None:
    """It counts from when it sent the renewal, the others from when they saw it: later, by whatever clock."""
    assert may_act(100.0, 100.0 + RENEW_SECONDS - 0.001)
    assert not may_act(100.0, 100.0 + RENEW_SECONDS)
    seen = see(None, lease(), 100.0)
    assert seen.held_until - (100.0 + RENEW_SECONDS) == 5


def test_a_lease_that_somebody_else_made_is_read_whatever_it_lacks() -> None:
    found = rules.parse({"metadata": {"name": "operator"}, "spec": {}})
    assert (found.holder, found.seconds, found.transitions) == ("", LEASE_SECONDS, 0)


class Store:
    """Leases as the API server keeps them, for candidates of which each can be cut off."""

    def __init__(self) -> None:
        self.stored: dict[str, Any] | None = None
        self.cut_off: set[str] = set()

    def line(self, name: str) -> "Line":
        return Line(self, name)


class Line:
    """One candidate's way to the store."""

    def __init__(self, store: Store, name: str) -> None:
        self.store, self.name = store, name

    async def lease(self, namespace: str, name: str) -> Any:
        await self._pass()
        return self.store.stored

    async def put_lease(self, manifest: Any) -> Any:
        await self._pass()
        known = self.store.stored["metadata"]["resourceVersion"] if self.store.stored is not None else None
        if manifest["metadata"].get("resourceVersion") != known:
            raise ConflictError
        version = str(int(known or 0) + 1)
        self.store.stored = {**manifest, "metadata": {**manifest["metadata"], "resourceVersion": version}}
        return self.store.stored

    async def _pass(self) -> None:
        await asyncio.sleep(0.01)
        if self.name in self.store.cut_off:
            raise UnavailableError("no route")


class Replica:
    """An operator that writes as often as its fence lets it."""

    def __init__(self, store: Store, name: str) -> None:
        self.name, self.led, self.lost = name, asyncio.Event(), False
        self.writes: list[float] = []
        clock = asyncio.get_running_loop().time
        self.election = Election(store.line(name), *PLACE, identity=name, clock=clock)
        self.task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        worker = asyncio.create_task(self._work())
        try:
            await self.election.run(self.led.set)
        except LeadershipLostError:
            self.lost = True
        finally:
            worker.cancel()

    async def _work(self) -> None:
        await self.led.wait()
        while True:
            self.election.fence()
            self.writes.append(asyncio.get_running_loop().time())
            await asyncio.sleep(0.1)

    async def stops(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        await self.election.step_down()


Scene = Callable[[Store], Coroutine[Any, Any, None]]


def play(scene: Scene) -> None:
    run_virtually(scene(Store()))


def test_of_many_that_start_together_one_acts() -> None:
    async def scene(store: Store) -> None:
        replicas = [Replica(store, name) for name in "abcde"]
        await asyncio.sleep(60)
        assert sum(replica.led.is_set() for replica in replicas) == 1
        assert not any(replica.lost for replica in replicas)

    play(scene)


def test_one_that_steps_down_is_followed_at_the_next_look() -> None:
    async def scene(store: Store) -> None:
        first = Replica(store, "a")
        await first.led.wait()
        second = Replica(store, "b")
        await asyncio.sleep(30)
        stopped = asyncio.get_running_loop().time()
        await first.stops()
        await second.led.wait()
        assert asyncio.get_running_loop().time() - stopped < 2.1

    play(scene)


@pytest.mark.parametrize("moment", [0.0, 0.5, 1.0, 1.5, 1.9])
def test_one_that_is_cut_off_stops_before_another_begins_which_is_within_18_seconds(moment: float) -> None:
    async def scene(store: Store) -> None:
        first = Replica(store, "a")
        await first.led.wait()
        second = Replica(store, "b")
        await asyncio.sleep(30 + moment)
        store.cut_off.add("a")
        cut = asyncio.get_running_loop().time()
        await second.led.wait()
        assert asyncio.get_running_loop().time() - cut < 18
        await asyncio.sleep(60)
        assert first.lost
        assert first.writes[-1] + 4 < second.writes[0]

    play(scene)


def test_one_that_is_cut_off_for_a_while_acts_on() -> None:
    async def scene(store: Store) -> None:
        first, second = Replica(store, "a"), None
        await first.led.wait()
        second = Replica(store, "b")
        await asyncio.sleep(30)
        store.cut_off.add("a")
        await asyncio.sleep(6)
        store.cut_off.clear()
        await asyncio.sleep(60)
        assert not first.lost
        assert not second.led.is_set()

    play(scene)


def test_a_lease_that_is_deleted_passes_on_without_two_that_act() -> None:
    async def scene(store: Store) -> None:
        first = Replica(store, "a")
        await first.led.wait()
        second = Replica(store, "b")
        await asyncio.sleep(30)
        store.stored = None
        await second.led.wait()
        await asyncio.sleep(1)
        assert first.lost
        assert first.writes[-1] < second.writes[0]

    play(scene)


def test_one_that_finds_another_in_its_lease_stops_at_once_and_leaves_it_to_that_one() -> None:
    async def scene(store: Store) -> None:
        first = Replica(store, "a")
        await first.led.wait()
        assert store.stored is not None
        spec = {**store.stored["spec"], "holderIdentity": "b"}
        store.stored = {"metadata": {**store.stored["metadata"], "resourceVersion": "99"}, "spec": spec}
        await asyncio.sleep(3)
        assert first.lost
        await first.stops()
        assert store.stored["spec"]["holderIdentity"] == "b"

    play(scene)


def test_one_that_never_led_may_not_write() -> None:
    async def scene(store: Store) -> None:
        with pytest.raises(LeadershipLostError):
            Election(store.line("a"), *PLACE, identity="a").fence()

    play(scene)
