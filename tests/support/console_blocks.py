"""Commands and their output as docs show them, and a comparison that ignores what changes from run to run.

`python -m console_blocks PAGE` runs the commands of a page where its cluster is the current context, and writes what
they print now.
"""

import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_BLOCK = re.compile(r"```console\n\$ (?P<command>[^\n]+)\n(?P<output>.*?)```", re.DOTALL)


@dataclass(frozen=True)
class ConsoleBlock:
    """One command of a page, and what the page says it prints."""

    command: str
    output: str

    @property
    def shape(self) -> list[str]:
        """The output without what differs between runs."""
        return shape(self.output)


def blocks(page: Path) -> list[ConsoleBlock]:
    """Every console block of a page."""
    return [ConsoleBlock(m["command"], m["output"]) for m in _BLOCK.finditer(page.read_text())]


def shape(text: str) -> list[str]:
    """Lines with numbers, digests, ids, signs and column widths taken out.

    Docs show a run of their own: its scores and times are not those of the run that the test makes, but every field,
    column, reason and sentence must be.
    """
    text = re.sub(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "ID", text)
    text = re.sub(r"sha256:[0-9a-f]{12,64}", "DIGEST", text)
    text = re.sub(r"finetune-(operator|trainer):[0-9a-f]{12}", r"finetune-\1:TAG", text)
    text = re.sub(r"/e2e/[0-9a-f]{8}/", "/e2e/RUN/", text)
    text = re.sub(r"order-desk(-\d+)?", "JOB", text)
    text = re.sub(r"(-(?:train|preflight)(?:-\d+)?)-[a-z0-9]{5}\b", r"\1-POD", text)
    text = re.sub(r"[+-]?\d+(\.\d+)?", "N", text)
    text = re.sub(r"(N[dhms])+", "T", text)
    text = re.sub(r"\b(better|worse|inconclusive)\b", "VERDICT", text)
    lines = [" ".join(line.split()) for line in text.splitlines()]
    return _sort_events([line for line in lines if line])


def _sort_events(lines: list[str]) -> list[str]:
    """Events of one second come in any order, and whether a node had to be waited for depends on its neighbours."""
    if "Events:" not in lines:
        return lines
    start = lines.index("Events:")
    return lines[:start] + sorted(line for line in lines[start:] if "Unschedulable" not in line)


def refresh(page: Path, run: Callable[[list[str]], str]) -> None:
    """Write anew what the commands of a page print."""
    text = page.read_text()
    for block in blocks(page):
        old = f"```console\n$ {block.command}\n{block.output}```"
        text = text.replace(old, f"```console\n$ {block.command}\n{run(shlex.split(block.command))}```")
    page.write_text(text)


def _run(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


if __name__ == "__main__":
    refresh(Path(sys.argv[1]), _run)
