"""Progress for people: one line per step, with what is waited for while it is."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console

# Results go to stdout, for pipes; progress goes here.
console = Console(stderr=True, highlight=False)


@contextmanager
def step(what: str) -> Iterator[None]:
    """Show `what` while the block runs, then how long it took."""
    start = time.monotonic()
    if not console.is_terminal:
        note(f"… {what}")
    with console.status(what):
        yield
    console.print(f"[green]✓[/] {what} [dim]{time.monotonic() - start:.1f} s[/]")


def note(what: str) -> None:
    """One line that is not a step."""
    console.print(what, soft_wrap=True)
