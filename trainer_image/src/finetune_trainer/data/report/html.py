"""The data report as one page: no network, no script, nothing of a row's text that a browser could take for markup."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import jinja2
from markupsafe import Markup, escape

from finetune_trainer.data.report.chart import HEIGHT, WIDTH, draw
from finetune_trainer.data.report.content import BadRow, DataReport, Run
from finetune_trainer.data.report.findings import ODDITY_NAMES, PII_NAMES, SIDE_NAMES

FAULTS_OPEN: Final = 10
"""Kinds of bad rows that are seen at once; the rest unfolds."""
PLACES_OPEN: Final = 5
"""Places of each kind that are seen at once."""

_UNSEEN: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u200e\u200f\u2028-\u202e\u2060\u2066-\u2069\ufeff\U000e0000-\U000e007f]"
)


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


def visible(text: str) -> str:
    """Characters that would hide, or turn the reading direction, as `[U+202E]`."""
    return _UNSEEN.sub(lambda match: f"[U+{ord(match[0]):04X}]", text)


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
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=lambda value: visible(value) if type(value) is str else value,  # Markup is a str of its own type
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"count": _count, "share": _share, "lines": _lines, "sentence": _sentence, "what": _what}
    return environment.get_template("page.html.jinja")


def _count(number: float) -> str:
    return f"{number:,}"


def _share(part: float, whole: float) -> str:
    """A percentage; what is not quite nothing, or not quite everything, is not rounded to it."""
    if not whole:
        return "–"  # noqa: RUF001  a dash, as tables have it
    percent = 100 * part / whole
    if 0 < percent < 0.1:
        return "< 0.1 %"
    if 99.9 < percent < 100:
        return "> 99.9 %"
    return f"{percent:.1f} %"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _lines(text: str) -> Markup:
    """Text in which line ends can be seen too."""
    return Markup('<span class="end" aria-hidden="true">↵</span>\n').join(map(escape, visible(text).split("\n")))


def _what(run: Run) -> str:
    tokens = f"{run.tokens:,} {'token' if run.tokens == 1 else 'tokens'}"
    if not run.weight:
        return f"masked, {tokens}"
    return f"learnt, {tokens}" if run.weight == 1 else f"learnt at weight {run.weight:g}, {tokens}"
