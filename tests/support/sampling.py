"""Which slow cases a run takes: as many as fit a few minutes, chosen by a seed.

A slow case is marked `slow(name=..., minutes=...)`. Cases that share a run (one fine-tune that several tests look at)
share its name, cost its minutes once and are taken or left together. Cases on the cluster and cases without it have
minutes of their own: two hundred cheap ones would else leave no turn for a dear one.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class SlowRun:
    """Arguments of the marker `slow`, and where it runs."""

    name: str
    """Cases of one name are taken or left together."""
    minutes: float
    """What all of them take."""
    on_cluster: bool


def choose(runs: Iterable[SlowRun], seed: str, *, cluster_minutes: float, other_minutes: float) -> set[str]:
    """Names of the runs to take: a sample of those on the cluster, and one of those without it."""
    known = set(runs)
    on_cluster = {run.name: run.minutes for run in known if run.on_cluster}
    others = {run.name: run.minutes for run in known if not run.on_cluster}
    return sample(on_cluster, seed, cluster_minutes) | sample(others, seed, other_minutes)


def sample(runs: Mapping[str, float], seed: str, minutes: float) -> set[str]:
    """Choose runs in an order that the seed decides, until the next one would take too long.

    Args:
        runs: Minutes by name.
        seed: The same seed gives the same choice; another one, sooner or later, every other choice.
        minutes: What the choice may take in all; the first one is taken even when it takes longer.

    Returns:
        Names; at least one where there is any.

    """
    chosen: set[str] = set()
    left = minutes
    for run in sorted(runs, key=lambda run: _rank(seed, run)):
        if chosen and runs[run] > left:
            break
        chosen.add(run)
        left -= runs[run]
    return chosen


def _rank(seed: str, run: str) -> str:
    return hashlib.sha256(f"{seed} {run}".encode()).hexdigest()
