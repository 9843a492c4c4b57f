"""The result's page: hostile text stays text, the size has a bound, the verdict says what the numbers say."""

import re
from itertools import pairwise

import pytest
from page_reader import Page
from run_results import evaluation, example, failed_result, full_result, metric, report, request, steps

from finetune_api.report import Changes, GateResult, RivalResult
from finetune_trainer.page.environment import source_hash
from finetune_trainer.result_report.answers import MOST_CHARACTERS
from finetune_trainer.result_report.html import MOST_BYTES, render_html
from finetune_trainer.result_report.verdict import judge

HOSTILE = {
    "script": "<script>alert(1)</script>",
    "end of a script": "</script></pre></article><img src=x onerror=alert(1)>",
    "comment": "<!-- <!DOCTYPE html> ]]> --!>",
    "line separator": "a\u2028b\u2029c",
    "control characters": "a\x00b\x1bc\x7fd\x85e",
    "right to left": "\u202egnp.exe\u2066 \u200f",
    "template": "{{ 7 * 7 }}{% raw %}",
    "attribute": "\" onmouseover='alert(1)' x=\"",
    "entity": "&lt;b&gt; &amp;",
    "surrogate": "a\ud800b",
}


def hostile_page(text: str) -> str:
    """A page with a text wherever one of a user, of a model or of a library can get."""
    label = text[:100].strip() or "x"
    row = {"source": text, "dataset": text, "prompt": text, "reference": text, "baseline": text, "tuned": text}
    told = evaluation(
        labels=[label, "other"], confusion=[[1, 2, 3], [4, 5, 6]], error_classes={text: 3},
        gates=[GateResult(metric="loss", wanted=text, actual=1.0, passed=False)],
    )  # fmt: skip
    return render_html(
        full_result(
            report=report(evaluation=told, lineage={"image": text, "baseModel": text}, libraries={text: text}),
            examples=[example(number, rivals={"few_shot": text}, **row) for number in range(9)],
            request=request(data={"template": {"system": text.replace("\ud800", "")}}),
            base_license=text,
        )
    )


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_text_is_shown_as_text_and_changes_nothing_else(text: str) -> None:
    harmless, hostile = Page(hostile_page("harmless")), Page(hostile_page(text))
    assert [tag for tag, _ in hostile.tags] == [tag for tag, _ in harmless.tags]
    assert [sorted(attributes) for _, attributes in hostile.tags] == [
        sorted(attributes) for _, attributes in harmless.tags
    ]
    assert not re.search("[\u202a-\u202e\u2066-\u2069\u2028\u2029\u200b\ufeff\x00-\x08\x1b\x7f]", hostile_page(text))
    hostile_page(text).encode()


def test_the_policy_allows_this_style_and_this_script_and_nothing_else() -> None:
    html = render_html(full_result())
    page = Page(html)
    (policy,) = [meta["content"] for meta in page.named("meta") if meta.get("http-equiv") == "Content-Security-Policy"]
    (style,), (script,) = (
        re.findall("<style>(.*?)</style>", html, re.S),
        re.findall("<script>(.*?)</script>", html, re.S),
    )
    assert policy == (
        f"default-src 'none'; style-src {source_hash(style)}; script-src {source_hash(script)}; "
        "base-uri 'none'; form-action 'none'"
    )
    assert html.index("Content-Security-Policy") < html.index("<style>")
    for _, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on") or name in {"src", "style", "action"}]
        assert (attributes.get("href") or "#").startswith("#")
    assert "url(" not in style
    assert not re.search(r"fetch|XMLHttp|import|eval|innerHTML|WebSocket|sendBeacon", script)


def test_a_long_answer_is_cut_with_a_note() -> None:
    html = render_html(full_result(examples=[example(1, tuned="x" * 100_000)]))
    assert "x" * MOST_CHARACTERS in html
    assert "x" * (MOST_CHARACTERS + 1) not in html
    assert f"{100_000 - MOST_CHARACTERS:,} more characters stand in examples.jsonl" in html


def test_the_page_stays_below_its_bound_and_says_how_many_rows_it_leaves_out() -> None:
    answer = "é" * MOST_CHARACTERS
    rows = [example(number, prompt=answer, reference=answer, tuned=answer, baseline=answer) for number in range(400)]
    html = render_html(full_result(examples=rows))
    assert MOST_BYTES - 60_000 < len(html.encode()) <= MOST_BYTES
    shown = re.findall('<article class="answer ([a-z]+)"', html)
    assert f"{400 - len(shown)} more did not fit into this page and stand in examples.jsonl" in html
    assert shown == sorted(shown, key=["broken", "fixed", "unchanged"].index)
    assert shown.count("broken") == 100


def test_nothing_else_of_a_page_grows_without_bound() -> None:
    labels = [f"label {number} {'y' * 110}" for number in range(1000)]
    confusion = [[1] * 1001 for _ in labels]
    told = evaluation(labels=labels, confusion=confusion)
    html = render_html(full_result(steps=steps(100_000), report=report(evaluation=told), examples=[]))
    assert len(html.encode()) < 300_000


def test_without_show_rows_no_text_of_a_row_or_an_answer_is_on_the_page() -> None:
    html = render_html(full_result(request=request(data={"showRows": False})))
    for secret in ("large plates", "glad to help", "plate |", "plates, 3"):
        assert secret not in html
    assert html.count('<article class="answer') == 40
    assert "<code>data.showRows</code> is false" in html
    assert "s3://team/desk/test.jsonl:1" in html


def test_a_failed_run_shows_why_and_its_curves_and_nothing_that_it_has_not() -> None:
    page = Page(render_html(failed_result()))
    assert page.text.index("Failed: Diverged") < page.text.index("Lower training.learningRate.")
    assert page.text.index("Lower training.learningRate.") < page.text.index("Gradient norm")
    assert "Model card" not in page.text
    assert "Base against tuned" not in page.text


GATE = GateResult(metric="exact_match", wanted="tuned >= 0.6", actual=0.5, passed=False)
RIVAL = RivalResult(name="few_shot", score=0.7, low=-0.3, high=-0.1)
VERDICTS = {
    "better": ((0.1, 0.2), [], ("good", "Better than the base")),
    "worse": ((-0.2, -0.1), [], ("bad", "Worse than the base")),
    "inconclusive": ((-0.1, 0.2), [], ("unsure", "Not proven better than the base")),
    "better behind a gate": ((0.1, 0.2), [GATE], ("bad", "Better than the base, but a gate did not hold")),
    "worse behind two": ((-0.2, -0.1), [GATE, GATE], ("bad", "Worse than the base, and 2 gates did not hold")),
}


@pytest.mark.parametrize(("interval", "gates", "wanted"), VERDICTS.values(), ids=VERDICTS)
def test_the_verdict_is_that_of_the_headlines_interval_and_the_gates(interval, gates, wanted) -> None:
    told = evaluation(metrics=[metric("exact_match", 0.25, 0.5, *interval)], gates=gates)
    judgement = judge(report(evaluation=told))
    assert (judgement.tone, judgement.headline) == wanted


def test_the_verdict_tells_of_a_rival_that_is_better_and_of_what_was_forgotten() -> None:
    told = evaluation(metrics=[metric("exact_match", 0.25, 0.5, 0.1, 0.4, rivals=[RIVAL])])
    lines = " ".join(judge(report(evaluation=told)).lines)
    assert "The base with worked examples has 0.700: the tuned model is worse than that." in lines
    assert "Forgotten: arc_easy went from 0.550 to 0.490." in lines


def test_the_verdict_stands_before_every_other_number() -> None:
    text = Page(render_html(full_result())).text
    assert text.index("Better than the base, but") < text.index("60,000") < text.index("Base against tuned")


def test_every_table_has_a_caption_every_chart_words_and_headings_skip_no_level() -> None:
    page = Page(render_html(full_result()))
    assert len(page.named("caption")) == len(page.named("table")) >= 6
    assert all(header.get("scope") in {"col", "row"} for header in page.named("th"))
    assert all(chart.get("aria-label") for chart in page.named("svg") if chart.get("role") == "img")
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    assert levels.count(1) == 1
    assert all(below <= above + 1 for above, below in pairwise(levels))


def test_a_job_that_asked_nothing_has_a_page_without_answers() -> None:
    told = evaluation(metrics=[metric("loss", 4.0, 3.0, -1.1, -0.9)], changes=None, slices=[], error_classes={})
    html = render_html(full_result(report=report(evaluation=told), examples=[]))
    assert "Side by side" not in html
    assert "What tuning changed" not in html


def test_changes_are_drawn_as_shares_of_all_rows() -> None:
    told = evaluation(changes=Changes(fixed=3, broken=1, unchanged=4))
    stack = Page(render_html(full_result(report=report(evaluation=told)))).named("rect")
    assert [(each["class"], each["width"]) for each in stack] == [
        ("fixed", "37.5%"), ("unchanged", "50.0%"), ("broken", "12.5%"),
    ]  # fmt: skip
