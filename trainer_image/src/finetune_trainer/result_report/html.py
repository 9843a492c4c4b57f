"""The result as one page: the verdict first, nothing fetched, at most 5 MB.

The page is sealed by its own Content-Security-Policy: nothing may be fetched, and of styles and scripts only the one of
each that this module puts in, named by its hash, so that even markup that got past the escaping would not run. Without
scripts (some mail programs) everything is there to read; searching and filtering is what is missing.
"""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import jinja2
import yaml
from markupsafe import Markup

from finetune_api.report import EvaluationResult
from finetune_api.spec.job import FinetuneJobSpec
from finetune_trainer.page.environment import base_style, environment, source_hash
from finetune_trainer.result_report import wording
from finetune_trainer.result_report.answers import fitting, make_answers
from finetune_trainer.result_report.card import about_use, known_limits, loading_code
from finetune_trainer.result_report.content import RunResult
from finetune_trainer.result_report.curves import WIDTH, draw_curves
from finetune_trainer.result_report.strips import draw_strips
from finetune_trainer.result_report.verdict import difference, judge

MOST_BYTES: Final = 5_000_000
"""Of the whole page; what mail programs and people put up with."""
ROWS_OPEN: Final = 6
"""Rows that are seen at once."""
MOST_LABELS: Final = 12
"""Of a confusion matrix that fits a page; of a larger one the most frequent mix-ups are listed."""
MIX_UPS: Final = 20

_FOLDER: Final = Path(__file__).parent


def render_html(result: RunResult) -> str:
    """The page, of at most `MOST_BYTES` bytes in UTF-8."""
    show_rows = result.request.spec.data.show_rows
    answers = make_answers(result.examples, show_rows=show_rows)
    # A measurement, not an estimate: the page without rows says how much room they have.
    room = MOST_BYTES - len(_page(result, [], show_rows=show_rows).encode())
    rendered = fitting(answers, lambda answer: _answer_template().render(answer=answer), room)
    return _page(result, rendered, show_rows=show_rows)


def _page(result: RunResult, answers: list[str], *, show_rows: bool) -> str:
    report, spec = result.report, result.request.spec
    evaluation = report.evaluation
    style, script = _style(), (_FOLDER / "page.js").read_text()
    return _page_template().render(
        result=result,
        report=report,
        evaluation=evaluation,
        spec=spec,
        policy=f"default-src 'none'; style-src {source_hash(style)}; script-src {source_hash(script)}; "
        "base-uri 'none'; form-action 'none'",
        style=Markup(style),  # noqa: S704  our own file
        script=Markup(script),  # noqa: S704  our own file
        judgement=judge(report),
        strips=draw_strips(evaluation.metrics) if evaluation else [],
        benchmarks=draw_strips(evaluation.benchmarks, fraction=True) if evaluation else [],
        mix_ups=_mix_ups(evaluation) if evaluation else [],
        curves=draw_curves(result.steps),
        curve_width=WIDTH,
        milestones=_milestones(result),
        # Rendered by a template that escapes; and room for the sentence that counts them is measured with the page.
        answers=[Markup(answer) for answer in answers],  # noqa: S704
        rows_open=ROWS_OPEN,
        show_rows=show_rows,
        datasets=sorted({example.dataset for example in result.examples}),
        classes=sorted({name for example in result.examples for name in example.classes}),
        spec_text=_spec_text(spec),
        use=about_use(result),
        limits=known_limits(result),
        code=loading_code(result),
    )


@dataclass(frozen=True, slots=True)
class MixUp:
    """Rows of one label that got another."""

    wanted: str
    got: str
    rows: int


def _mix_ups(evaluation: EvaluationResult) -> list[MixUp]:
    """The most frequent ones of a matrix too large to be shown."""
    if len(evaluation.labels) <= MOST_LABELS:
        return []
    names = [*evaluation.labels, "no label"]
    found = [
        MixUp(evaluation.labels[row], names[column], count)
        for row, counts in enumerate(evaluation.confusion)
        for column, count in enumerate(counts)
        if count and row != column
    ]
    return sorted(found, key=lambda each: -each.rows)[:MIX_UPS]


def _milestones(result: RunResult) -> list[Any]:
    """A dozen steps, evenly spread, for those who read numbers."""
    steps = result.steps
    places = sorted({round(place * (len(steps) - 1) / 11) for place in range(12)}) if steps else []
    return [steps[place] for place in places]


def _spec_text(spec: FinetuneJobSpec) -> str:
    """What was asked for, in YAML; defaults are left out."""
    content = json.loads(spec.model_dump_json(exclude_defaults=True))
    return yaml.safe_dump({"spec": content}, sort_keys=False, allow_unicode=True)


@cache
def _style() -> str:
    return base_style() + (_FOLDER / "page.css").read_text()


@cache
def _environment() -> jinja2.Environment:
    made = environment(_FOLDER)
    made.filters |= {
        "score": wording.score,
        "size": wording.file_size,
        "metric": wording.metric_title,
        "difference": difference,
        "rows": wording.rows,
    }
    made.globals |= {
        "rival_titles": wording.RIVAL_TITLES,
        "interval_titles": wording.INTERVAL_TITLES,
        "most_labels": MOST_LABELS,
    }
    return made


def _page_template() -> jinja2.Template:
    return _environment().get_template("page.html.jinja")


def _answer_template() -> jinja2.Template:
    return _environment().get_template("answer.html.jinja")
