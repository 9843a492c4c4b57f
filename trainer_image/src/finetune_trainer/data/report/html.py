"""The data report as one page: no network, no script, nothing of a row's text that a browser could take for markup."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import jinja2

from finetune_trainer.data.report.chart import HEIGHT, WIDTH, draw
from finetune_trainer.data.report.content import BadRow, DataReport, Run
from finetune_trainer.data.report.findings import ODDITY_NAMES, PII_NAMES, SIDE_NAMES
from finetune_trainer.page.environment import environment

FAULTS_OPEN: Final = 10
"""Kinds of bad rows that are seen at once; the rest unfolds."""
PLACES_OPEN: Final = 5
"""Places of each kind that are seen at once."""


def render_html(report: DataReport) -> str:
    """The page."""
    charted = report.lengths[0] if report.lengths else None
    return _template().render(
        report=report,
        charted=charted,
        chart=charted and draw(charted.bins, report.max_tokens),
        learns_tokens=not report.labels or any(side.supervised for side in report.sides),
        chart_width=WIDTH,
        chart_height=HEIGHT,
        faults=_faults(report.bad.rows),
        faults_open=FAULTS_OPEN,
        places_open=PLACES_OPEN,
        side_names=SIDE_NAMES,
        pii_names=PII_NAMES,
        oddity_names=ODDITY_NAMES,
    )


@dataclass(frozen=True, slots=True)
class _Fault:
    """Bad rows with the same problem."""

    problem: str
    remedy: str
    places: list[str]


def _faults(rows: Iterable[BadRow]) -> list[_Fault]:
    """The most frequent first."""
    places: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        places.setdefault((row.problem, row.remedy), []).append(row.place)
    faults = [_Fault(problem, remedy, where) for (problem, remedy), where in places.items()]
    return sorted(faults, key=lambda fault: -len(fault.places))


@cache
def _template() -> jinja2.Template:
    made = environment(Path(__file__).parent)
    made.filters["what"] = _what
    return made.get_template("page.html.jinja")


def _what(run: Run) -> str:
    tokens = f"{run.tokens:,} {'token' if run.tokens == 1 else 'tokens'}"
    if not run.weight:
        return f"masked, {tokens}"
    return f"learnt, {tokens}" if run.weight == 1 else f"learnt at weight {run.weight:g}, {tokens}"
