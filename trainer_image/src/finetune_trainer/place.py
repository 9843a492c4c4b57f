"""Where a process stands among those that train one model together, as the launcher tells it by environment.

The variables are torchrun's, so that the loop can be started by it on a bare machine too.
"""

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Self

PULSE_FD: Final = "FINETUNE_PULSE_FD"
"""The end of a pipe into which a process writes while it is alive."""
_NAMES: Final = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True, slots=True)
class Place:
    """One process among several."""

    rank: int = 0
    count: int = 1
    """Processes that train together, on all nodes."""
    local_rank: int = 0
    """Among those of its node; the number of its GPU."""
    local_count: int = 1
    host: str = ""
    """Where the first rank listens."""
    port: int = 0

    @classmethod
    def here(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """The place of this process; alone where the environment names none."""
        if not all(name in environment for name in _NAMES):
            return cls()
        rank, count, local_rank, local_count, host, port = (environment[name] for name in _NAMES)
        return cls(int(rank), int(count), int(local_rank), int(local_count), host, int(port))

    def environment(self) -> dict[str, str]:
        """What tells a process that this is its place."""
        values = (self.rank, self.count, self.local_rank, self.local_count, self.host, self.port)
        return dict(zip(_NAMES, map(str, values), strict=True))


def alone(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment of a child that trains with nobody."""
    return {name: value for name, value in environment.items() if name not in (*_NAMES, PULSE_FD)}


def show_life() -> None:
    """Tell the launcher that this process is alive, if there is one."""
    if PULSE_FD in os.environ:
        with suppress(OSError):  # of a pipe that is full, or has no reader any more
            os.write(int(os.environ[PULSE_FD]), b"1")
