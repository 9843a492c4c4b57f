"""Which of several operators acts: the rules of a Lease, pure, with every moment an argument.

They are client-go's: who does not hold the Lease takes it when its record has not changed for as long as the record
says, by the own clock of whoever looks, so that clocks may disagree. One rule is added: a holder whose last renewal was
sent too long ago may write nothing more (`Election.fence`). client-go leaves that to its callers.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

LEASE_SECONDS: Final = 15
"""Others wait for so long after they saw the last renewal."""
RENEW_SECONDS: Final = 10.0
"""A holder that has not renewed for so long is none any more: 5 seconds before anybody else can be one, in which its
last requests arrive."""
RETRY_SECONDS: Final = 2.0
"""Between two tries, of the holder to renew and of the others to take over."""

Moment = float
"""Seconds of a clock that never jumps; each process has its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """A Lease as the API server has it."""

    holder: str
    """Empty: nobody."""
    seconds: int
    acquired_at: str
    renewed_at: str
    transitions: int
    metadata: Mapping[str, Any] = field(compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """What was last seen of the Lease; `lease` is None where there is none."""

    lease: Lease | None
    held_until: Moment
    """Somebody may act until then."""

    @property
    def holder(self) -> str:
        """Who holds it, empty if nobody."""
        return self.lease.holder if self.lease is not None else ""


def parse(raw: Mapping[str, Any]) -> Lease:
    """A Lease from the API server; one that somebody else made may lack any part of its spec."""
    spec = raw.get("spec") or {}
    return Lease(
        holder=spec.get("holderIdentity") or "",
        seconds=spec.get("leaseDurationSeconds") or LEASE_SECONDS,
        acquired_at=spec.get("acquireTime") or "",
        renewed_at=spec.get("renewTime") or "",
        transitions=spec.get("leaseTransitions") or 0,
        metadata=raw["metadata"],
    )


def see(before: Sighting | None, found: Lease | None, at: Moment) -> Sighting:
    """What is known after another look, whose answer came at `at`."""
    if found is not None and found.holder and (before is None or found != before.lease):
        return Sighting(lease=found, held_until=at + found.seconds)
    released = found is not None and not found.holder
    # Of a Lease that somebody deleted the holder does not know yet.
    return Sighting(lease=found, held_until=at if released or before is None else before.held_until)


def may_take(seen: Sighting, identity: str, now: Moment) -> bool:
    """Whether to write oneself in; the holder itself may always, a request of its own that seemed lost included."""
    return seen.holder == identity or now >= seen.held_until


def may_act(renewed: Moment, now: Moment) -> bool:
    """Whether a holder that sent its last successful renewal at `renewed` still is one."""
    return now - renewed < RENEW_SECONDS


def claim(lease: Lease | None, identity: str, now: datetime) -> dict[str, Any]:
    """The spec by which to take or to renew."""
    moment = _micro_time(now)
    renews = lease is not None and lease.holder == identity
    transitions = 0 if lease is None else lease.transitions + (not renews)
    return {
        "holderIdentity": identity,
        "leaseDurationSeconds": LEASE_SECONDS,
        "acquireTime": lease.acquired_at if lease is not None and renews else moment,
        "renewTime": moment,
        "leaseTransitions": transitions,
    }


def release(lease: Lease, now: datetime) -> dict[str, Any]:
    """The spec by which a holder steps down, so that nobody has to wait."""
    moment = _micro_time(now)
    return {
        "holderIdentity": "",
        "leaseDurationSeconds": 1,
        "acquireTime": moment,
        "renewTime": moment,
        "leaseTransitions": lease.transitions,
    }


def _micro_time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
