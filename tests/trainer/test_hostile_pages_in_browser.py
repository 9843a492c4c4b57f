"""Rows and answers that carry markup and scripts, on both pages, in a real browser: it shows them and runs nothing."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import chromium, open_page
from playwright.sync_api import Browser
from report_rows import Reporting
from run_results import example, full_result

from finetune_trainer.data.report import html as data_page
from finetune_trainer.result_report import html as result_page

HOSTILE = (
    "</script></style></pre><script>window.hacked = 1</script><img src=x onerror='window.hacked = 1'>"
    "<svg onload='window.hacked = 1'></svg><a href='javascript:window.hacked = 1'>click</a>"
    "<iframe srcdoc='<script>parent.hacked = 1</script>'></iframe><link rel=stylesheet href='//evil.example.com/x'>"
    "<meta http-equiv=refresh content='0;url=https://evil.example.com/'><base href='https://evil.example.com/'>"
)


def data_report() -> str:
    reporting = Reporting(show_rows=True)
    for number in range(40):
        reporting.row(f"{number} {HOSTILE}", HOSTILE, label=0)
    reporting.row(HOSTILE, HOSTILE, side="test", label=1)
    names = {"train": [HOSTILE], "validation": [], "test": [HOSTILE]}
    return data_page.render_html(reporting.finish(labels=[HOSTILE, "other"], names=names, max_tokens=64, refusal=None))


def result() -> str:
    row = {"source": HOSTILE, "dataset": HOSTILE, "prompt": HOSTILE, "reference": HOSTILE, "tuned": HOSTILE}
    return result_page.render_html(full_result(examples=[example(number, **row) for number in range(9)]))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.mark.parametrize("page", [data_report, result])
def test_a_browser_shows_hostile_rows_and_runs_nothing_of_them(browser: Browser, tmp_path: Path, page) -> None:
    path = tmp_path / "page.html"
    path.write_text(page())
    with open_page(browser, path) as tab:
        for node in tab.page.locator("summary").all():
            node.click()
        assert tab.page.evaluate("window.hacked") is None
        assert tab.page.url == path.as_uri()
        assert (tab.requests, tab.complaints) == ([], [])
        assert "onerror='window.hacked = 1'" in tab.page.locator("body").text_content()


def test_such_a_row_would_run_on_a_page_that_is_not_sealed(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "open.html"
    path.write_text("<body><img src=x onerror='window.hacked = 1'></body>")
    with open_page(browser, path) as tab:
        tab.page.wait_for_function("window.hacked === 1")
