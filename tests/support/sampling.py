"""Which slow cases a run takes: as many as fit a few minutes, chosen by a seed.

A slow case is marked `slow(name=..., minutes=...)`. Cases that share a run (one fine-tune that several tests look at)
share its name, cost its minutes once and are taken or left together. Cases on the cluster and cases without it have
minutes of their own: two hundred cheap ones would else leave no turn for a dear one.
"""

import hashlib
from collections.abc import Mapping


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
