"""What the supervisor tells the outside: the state of each component."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class ComponentState:
    """One component: not yet started, running, or ended with `exit_code` (negative: by that signal)."""

    name: str
    started: bool
    exit_code: int | None
    log: str

    @property
    def word(self) -> str:
        """One word for a table."""
        if self.exit_code is not None:
            return "died"
        return "running" if self.started else "waiting"


def save_state(path: Path, states: Sequence[ComponentState]) -> None:
    """Replace the file in one step: readers see the old list or the new one."""
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps([asdict(state) for state in states], indent=2) + "\n")
    fresh.replace(path)


def load_states(path: Path) -> list[ComponentState]:
    """The last recorded states; empty before the first record."""
    if not path.exists():
        return []
    return [ComponentState(**entry) for entry in json.loads(path.read_text())]
