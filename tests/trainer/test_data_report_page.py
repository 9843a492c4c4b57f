"""The page: the verdict first, nothing that a browser would run or fetch, no text of rows where it is not wanted."""

import json
import re
from itertools import pairwise

import pytest
from page_reader import Page
from report_rows import ReportedText, Reporting

from finetune_api.conditions import Reason
from finetune_api.report import Failure
from finetune_trainer.data.encode import Tokenized
from finetune_trainer.data.item import Item
from finetune_trainer.data.problems import RowError, Source
from finetune_trainer.data.report.chart import draw
from finetune_trainer.data.report.content import Bin, DataReport
from finetune_trainer.data.report.html import FAULTS_OPEN, render_html
from finetune_trainer.data.report.tailor import hide_values, tailor

HOSTILE = "</script><img src=x onerror=alert(1)> & \u202egnp.exe {{ 7 * 7 }}"
REFUSAL = Failure(
    failure_class="Data",
    reason=Reason.DATASET_INVALID,
    message="1 row cannot be used\ns3://team/a.jsonl:3: field 'role' is 'robot-secret', not a known role",
    advice="Repair it.",
    retryable=False,
)


def full_report(*, show_rows: bool = True, refusal: Failure | None = None) -> DataReport:
    """Something in every section, with hostile text wherever a user's text can get."""
    reporting = Reporting(show_rows=show_rows)
    for number in range(40):
        reporting.row(
            f"{HOSTILE} question number {number} about the same long thing", f"secret-answer {number}", label=0
        )
    reporting.row(f"{HOSTILE} question number 7 about the same long thing!", "bob@example.com", side="test", label=1)
    reporting.builder.bad(
        Source(f"s3://team/{HOSTILE}.jsonl", 3), RowError("field 'role' is 'robot-secret', not a known role", HOSTILE)
    )
    return reporting.finish(
        labels=[HOSTILE, "other"],
        names={"train": [HOSTILE], "validation": [], "test": [HOSTILE]},
        max_tokens=64,
        refusal=refusal,
    )


def test_the_page_runs_nothing_and_fetches_nothing():
    page = Page(render_html(full_report()))
    assert not {"script", "img", "link", "iframe", "object"} & {tag for tag, _ in page.tags}
    for _, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on") or name in {"src", "href"}]
    policy = [meta["content"] for meta in page.named("meta") if meta.get("http-equiv") == "Content-Security-Policy"]
    assert policy == ["default-src 'none'; style-src 'unsafe-inline'"]
    assert "url(" not in render_html(full_report())


def test_hostile_text_is_shown_as_text():
    html = render_html(full_report())
    assert "<img" not in html
    shown = Page(html).text
    assert "</script><img src=x onerror=alert(1)> & [U+202E]gnp.exe {{ 7 * 7 }}" in shown


def test_characters_that_turn_or_hide_text_never_reach_the_page():
    html = render_html(full_report())
    assert not re.search("[\u202a-\u202e\u2066-\u2069\u200b\ufeff\x00-\x08]", html)


def test_the_verdict_stands_before_every_number():
    usable, unusable = (Page(render_html(full_report(refusal=refusal))).text for refusal in (None, REFUSAL))
    assert unusable.index("Not usable") < unusable.index("1 row cannot be used") < unusable.index("1 bad row")
    assert "Repair it." in unusable
    assert "Not usable" not in usable
    assert usable.index("Usable") < usable.index("Rows")


def test_personal_data_is_counted_and_never_printed_outside_the_rows_that_are_shown():
    report = full_report(show_rows=False)
    assert [pii.kind for pii in report.pii] == ["email"]
    for text in (report.model_dump_json(), render_html(report)):
        assert "bob@example.com" not in text
        assert "bob" not in text


def test_without_show_rows_no_text_of_a_row_is_anywhere():
    report = full_report(show_rows=False, refusal=REFUSAL)
    html = render_html(report)
    for text in (report.model_dump_json(), html):
        for secret in ("question number", "secret-answer", "same long thing", "robot-secret"):
            assert secret not in text
    assert report.shown is None
    assert report.bad.rows[0].problem == "field 'role' is (hidden), not a known role"
    assert "data.showRows" in html


@pytest.mark.parametrize(
    ("problem", "hidden"),
    [
        ("field 'a.role' is 'it\\'s me', not a known role", "field 'a.role' is (hidden), not a known role"),
        ('label is "it\'s", not one', "label is (hidden), not one"),
        ("label is 'a text that was cut..., which is not in labels", "label is (hidden)"),
        ("field 'role' is ['secret'], not a known role", "field 'role' is (hidden)"),
        ("field 'answer' is null, not a string", "field 'answer' is null, not a string"),
        ("label is 'secret\nsecond line is 'more'", "label is (hidden)\nsecond line is (hidden)"),
    ],
)
def test_values_are_hidden_and_names_of_fields_stay(problem, hidden):
    assert hide_values(problem) == hidden


def test_a_shared_report_is_published_without_text_where_a_later_job_wants_none():
    report = full_report(refusal=REFUSAL)
    assert "secret-answer" in report.model_dump_json()
    later = tailor(report, about={}, refusal=None, show_rows=False)
    for text in (later.model_dump_json(), render_html(later)):
        assert "secret-answer" not in text
        assert "robot-secret" not in text
    assert "rows that cannot be used and go into quarantine: 1" in [finding.message for finding in later.findings]


def test_learnt_and_masked_text_differ_by_words_and_underline_too():
    html = render_html(full_report())
    assert re.search(r'<div class="run"><span class="what">masked, \d+ tokens</span>', html)
    assert re.search(r'<div class="run learnt"><span class="what">learnt, 2 tokens</span>', html)
    assert re.search(r"\.learnt pre \{[^}]*text-decoration: underline", html)


def test_a_classifier_with_a_head_learns_labels_not_tokens():
    reporting = Reporting()
    source = Source("s3://team/a.csv", 2)
    item = Item((Tokenized(reporting.words.encode("a fine film"), [0, 0, 0], source),), label=1)
    reporting.builder.row("train", 0, ReportedText(source, "a fine film", ""), [item], order=1)
    report = reporting.finish(labels=["bad", "good"])
    text = Page(render_html(report)).text
    assert report.shown[0].label == "good"
    assert "Label: good" in text
    assert "the label is learnt" in text
    assert "underlined" not in text
    assert not [finding for finding in report.findings if "learnt from" in finding.message]


def test_every_table_has_a_caption_and_every_column_and_row_a_header():
    page = Page(render_html(full_report()))
    tables = len(page.named("table"))
    assert tables >= 8
    assert len(page.named("caption")) == tables
    assert all(header.get("scope") in {"col", "row"} for header in page.named("th"))


def test_headings_skip_no_level_and_the_language_is_named():
    page = Page(render_html(full_report()))
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(below <= above + 1 for above, below in pairwise(levels))
    assert page.named("html") == [{"lang": "en"}]
    (chart,) = page.named("svg")
    assert chart["role"] == "img"
    assert chart["aria-labelledby"] == "chart-title"


def test_bad_rows_with_one_problem_stand_together_the_most_frequent_first():
    reporting = Reporting()
    for line in range(1, 30):
        frequent = line % 3 == 0
        problem = RowError("field 'answer' is empty" if frequent else f"odd fault {line}", "mend it")
        reporting.builder.bad(Source("s3://team/a.jsonl", line), problem)
    text = Page(render_html(reporting.finish())).text
    assert text.count("Field 'answer' is empty") == 1
    assert text.index("Field 'answer' is empty") < text.index("Odd fault 1")
    assert all(f"s3://team/a.jsonl:{line}\n" in text for line in range(1, 30))
    assert f"{21 - FAULTS_OPEN} more problems" in text


def test_an_empty_report_is_a_page_too():
    page = Page(render_html(Reporting().finish(refusal=REFUSAL)))
    assert "Not usable" in page.text
    assert page.named("svg") == []


def test_the_json_reads_back_as_the_same_report():
    report = full_report(refusal=REFUSAL)
    assert DataReport.model_validate_json(report.model_dump_json()) == report
    assert json.loads(report.model_dump_json())["schemaVersion"] == "1"


@pytest.mark.parametrize("counts", [[1], [0, 1, 1000], [7] * 20])
def test_bars_stay_inside_the_chart_and_a_single_row_is_seen(counts):
    bins = [Bin(low=place * 10 + 1, high=place * 10 + 10, count=count) for place, count in enumerate(counts)]
    chart = draw(bins, max_tokens=5)
    for bar, count in zip(chart.bars, counts, strict=True):
        assert chart.left <= bar.x
        assert bar.x + bar.width <= chart.right
        assert chart.top <= bar.y
        assert bar.y + bar.height == pytest.approx(chart.base)
        assert (bar.height >= 1) == (count > 0)
    assert chart.limit is not None
    assert chart.left < chart.limit.at <= chart.right
    assert chart.ticks[-1].text == str(bins[-1].high)


def test_a_limit_that_no_row_reaches_is_not_drawn():
    assert draw([Bin(low=1, high=10, count=1)], max_tokens=11).limit is None
