"""Taking part in the election that a Lease decides, and the fence that keeps a process which lost it from writing."""

import asyncio
import logging
import socket
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final, Protocol

from finetune_operator.children import Raw
from finetune_operator.errors import ClusterError, LeadershipLostError
from finetune_operator.lease import (
    RENEW_SECONDS,
    RETRY_SECONDS,
    Moment,
    Sighting,
    claim,
    may_act,
    may_take,
    parse,
    release,
    see,
)

REQUEST_SECONDS: Final = 4.0
"""Of one look and one write: two tries fit into the time that a holder has for renewing."""
SHORTEST_SLEEP: Final = 0.05

_log: Final = logging.getLogger(__name__)


class LeaseStore(Protocol):
    """Where Leases are kept."""

    async def lease(self, namespace: str, name: str) -> Raw | None:
        """The Lease, or None if there is none."""

    async def put_lease(self, manifest: Raw) -> Raw:
        """Create it, or replace the version that it names; ConflictError if somebody was quicker."""


class Candidate(Protocol):
    """Whoever may come to act."""

    def fence(self) -> None:
        """Return if this process may write now, else raise LeadershipLostError."""

    async def run(self, lead: Callable[[], None]) -> None:
        """Call `lead` once this process is to act, and return never; LeadershipLostError when it may no more."""

    async def step_down(self) -> None:
        """Let another one act at once. Whatever wrote must have ended."""


class Alone:
    """An operator that has nobody to agree with."""

    def fence(self) -> None:
        """Writing is always allowed."""

    async def run(self, lead: Callable[[], None]) -> None:
        """Lead at once."""
        lead()
        await asyncio.Event().wait()

    async def step_down(self) -> None:
        """There is nobody to follow."""


class Election:
    """One of several operators, of which the holder of a Lease acts."""

    def __init__(
        self,
        store: LeaseStore,
        namespace: str,
        name: str,
        *,
        identity: str,
        clock: Callable[[], Moment] = time.monotonic,
    ) -> None:
        self._store = store
        self._place = (namespace, name)
        self._identity = identity
        self._clock = clock
        self._seen: Sighting | None = None
        self._renewed: Moment | None = None
        """When the last renewal that succeeded was sent; None before the first."""

    def fence(self) -> None:
        """Return if this process may write now.

        Raises:
            LeadershipLostError: its Lease may be another's by now, or it never had it.
        """
        if self._renewed is None or not may_act(self._renewed, self._clock()):
            raise LeadershipLostError(f"Lease {'/'.join(self._place)} was not renewed in time: another replica may act")

    async def run(self, lead: Callable[[], None]) -> None:
        """Stand by until the Lease is free, call `lead`, renew for ever.

        Raises:
            LeadershipLostError: the Lease could not be renewed in time, or is another's.
        """
        await self._stand_by()
        _log.info("this replica acts now", extra={"lease": self._place, "identity": self._identity})
        lead()
        while True:
            await asyncio.sleep(RETRY_SECONDS)
            self.fence()
            await self._try(min(REQUEST_SECONDS, self._left()))
            if self._seen is not None and self._seen.holder != self._identity:
                raise LeadershipLostError(f"Lease {'/'.join(self._place)} is held by {self._seen.holder or 'nobody'}")

    async def _stand_by(self) -> None:
        taken = await self._try(REQUEST_SECONDS)
        while not taken:
            await asyncio.sleep(self._pause())
            taken = await self._try(REQUEST_SECONDS)

    async def step_down(self) -> None:
        """Release the Lease if it is this process's."""
        lease = self._seen.lease if self._seen is not None else None
        if lease is None or lease.holder != self._identity or self._left() <= 0:
            return
        spec = release(lease, datetime.now(UTC))
        try:
            async with asyncio.timeout(min(REQUEST_SECONDS, self._left())):
                await self._put(spec)
        except (ClusterError, TimeoutError) as error:
            _log.info("Lease not released: another replica waits for its end", extra={"cause": str(error)})
        self._renewed = None

    async def _try(self, limit: float) -> bool:
        """Look, and take or renew if that is allowed; whether the Lease is ours then."""
        sent = self._clock()
        try:
            async with asyncio.timeout(limit):
                found = await self._store.lease(*self._place)
                self._note(found)
                if self._seen is None or not may_take(self._seen, self._identity, self._clock()):
                    return False
                self._note(await self._put(claim(self._seen.lease, self._identity, datetime.now(UTC))))
        except (ClusterError, TimeoutError) as error:
            # A conflict, too: the next look says who was quicker.
            _log.warning("Lease neither taken nor renewed", extra={"cause": str(error) or "no answer in time"})
            return False
        self._renewed = sent
        return True

    def _note(self, raw: Raw | None) -> None:
        before = self._seen.holder if self._seen is not None else None
        self._seen = see(self._seen, parse(raw) if raw is not None else None, self._clock())
        if self._seen.holder not in (before, "", self._identity):
            _log.info("another replica acts, this one stands by", extra={"holder": self._seen.holder})

    async def _put(self, spec: Raw) -> Raw:
        namespace, name = self._place
        known = self._seen.lease if self._seen is not None else None
        metadata = dict(known.metadata) if known is not None else {"namespace": namespace, "name": name}
        return await self._store.put_lease(
            {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec}
        )

    def _pause(self) -> float:
        """Until the next try to take over: not later than the Lease can be free."""
        left = self._seen.held_until - self._clock() if self._seen is not None else RETRY_SECONDS
        return min(RETRY_SECONDS, max(SHORTEST_SLEEP, left))

    def _left(self) -> float:
        return self._renewed + RENEW_SECONDS - self._clock() if self._renewed is not None else 0.0


def identity() -> str:
    """Who this process is: the pod's name for people, and chance, because a pod's container may be started again."""
    return f"{socket.gethostname()}_{uuid.uuid4()}"
