"""The result's page in a real browser: at three widths, on paper, by keyboard; it asks the network for nothing.

    UPDATE_SCREENSHOTS=1 pytest tests/trainer/test_result_page_in_browser.py

writes the pictures of docs/report.md, of the recorded run in tests/data/order_desk.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import Tab, chromium, open_page
from playwright.sync_api import Browser, expect
from run_results import evaluation, example, full_result, recorded_result, report, request

from finetune_trainer.result_report.html import ROWS_OPEN, render_html

IMAGES = Path(__file__).resolve().parents[2] / "docs" / "images"
WIDTHS = {"phone": (390, 844), "tablet": (820, 1180), "desktop": (1440, 1000)}
CONTRAST = """() => {
  const rgb = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = (c) => { const f = c.slice(0, 3).map((v) => { v /= 255;
    return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; });
    return 0.2126 * f[0] + 0.7152 * f[1] + 0.0722 * f[2]; };
  const ground = (node) => { for (; node; node = node.parentElement) {
    const c = rgb(getComputedStyle(node).backgroundColor); if (c.length < 4 || c[3] > 0) return c; }
    return [255, 255, 255]; };
  const found = {};
  for (const node of document.querySelectorAll("main *, header *, nav *, footer")) {
    const own = [...node.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim());
    if (!own || !node.checkVisibility() || node.closest("svg") || node.closest(":has(> input:disabled)")) continue;
    const [a, b] = [light(rgb(getComputedStyle(node).color)), light(ground(node))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) found[`${node.tagName}.${node.className} ${node.textContent.trim().slice(0, 30)}`] = ratio;
  }
  return found;
}"""
"""Texts with less contrast than WCAG 2.2 asks for (4.5 : 1, success criterion 1.4.3)."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("page") / "report.html"
    target.write_text(render_html(full_result()))
    return target


@pytest.fixture
def tab(browser: Browser, path: Path) -> Iterator[Tab]:
    with open_page(browser, path, viewport={"width": 1440, "height": 1000}) as opened:
        yield opened


def shown(tab: Tab) -> list[str]:
    return tab.page.eval_on_selector_all(".answer:not([hidden])", "rows => rows.map(row => row.dataset.change)")


@pytest.mark.parametrize("size", WIDTHS.values(), ids=WIDTHS)
def test_at_every_width_the_verdict_is_seen_at_once_and_nothing_sticks_out(
    browser: Browser, path: Path, size: tuple[int, int]
) -> None:
    with open_page(browser, path, viewport={"width": size[0], "height": size[1]}) as tab:
        box = tab.page.locator(".verdict").bounding_box()
        assert box["y"] + box["height"] < size[1]
        assert tab.page.evaluate("document.documentElement.scrollWidth") == size[0]
        # What is wider than its place can be scrolled there, and no chart or answer is.
        for selector in (".strip", ".curve", ".answer", ".filters"):
            for box in tab.page.locator(f"{selector}:visible").all()[:8]:
                assert box.evaluate("node => node.scrollWidth <= node.clientWidth + 8"), selector


@pytest.mark.parametrize("size", WIDTHS.values(), ids=WIDTHS)
def test_the_page_asks_for_nothing_and_the_console_stays_silent(
    browser: Browser, path: Path, size: tuple[int, int]
) -> None:
    with open_page(browser, path, viewport={"width": size[0], "height": size[1]}) as tab:
        tab.page.get_by_role("searchbox").fill("plates")
        tab.page.get_by_text("The spec", exact=True).click()
        assert (tab.requests, tab.complaints) == ([], [])


def test_markup_that_got_past_the_escaping_would_neither_run_nor_fetch(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    evil = "<img src=https://example.com/x onerror=document.title=1><script>document.title=2</script></main>"
    path.write_text(render_html(full_result()).replace("</main>", evil))
    with open_page(browser, path) as tab:
        assert tab.page.title().startswith("team/desk")
        refused = [each for each in tab.complaints if "Content Security Policy" in each]
        assert len(refused) == 3  # the picture, its handler, the script


def test_rows_are_filtered_by_what_tuning_did_to_them(tab: Tab) -> None:
    assert shown(tab) == ["broken"] * ROWS_OPEN
    tab.page.get_by_label("Fixed 20").check()
    assert shown(tab) == ["fixed"] * ROWS_OPEN
    expect(tab.page.get_by_role("status")).to_have_text("20 of 40 rows")
    tab.page.get_by_role("button", name="Show 14 more of 20").click()
    assert shown(tab) == ["fixed"] * 20
    expect(tab.page.locator("button.more")).to_be_hidden()


def test_filters_and_search_narrow_each_other(tab: Tab) -> None:
    tab.page.get_by_label("Broken 10").check()
    tab.page.get_by_label("Data set").select_option("orders")
    tab.page.get_by_label("Fault").select_option("repeats_itself")
    tab.page.get_by_role("searchbox").fill("PLATES 12 friday")
    expect(tab.page.get_by_role("status")).to_have_text("1 of 40 rows")
    expect(tab.page.locator(".answer:not([hidden])")).to_contain_text("12 large plates")
    tab.page.get_by_role("searchbox").fill("no such words")
    expect(tab.page.get_by_role("status")).to_have_text("0 of 40 rows")
    assert shown(tab) == []


def test_more_rows_take_the_focus_to_the_first_of_them(tab: Tab) -> None:
    tab.page.get_by_role("button", name="Show 20 more of 40").click()
    assert len(shown(tab)) == ROWS_OPEN + 20
    assert tab.page.evaluate(
        f"document.activeElement === document.querySelectorAll('.answer:not([hidden])')[{ROWS_OPEN}]"
    )


def test_by_keyboard_one_comes_to_the_content_the_sections_and_the_filters_in_order(tab: Tab) -> None:
    def focused() -> str:
        return tab.page.evaluate("(document.activeElement.name || document.activeElement.textContent).trim()")

    order = []
    for _ in range(16):
        tab.page.keyboard.press("Tab")
        order.append(focused())
    wanted = ["To the content", "Metrics", "Answers", "Training", "Data", "Lineage", "Model card"]
    assert order[:7] == wanted
    assert order.index("change") < order.index("dataset") < order.index("class") < order.index("text")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_has_enough_contrast(browser: Browser, path: Path, scheme: str) -> None:
    with open_page(browser, path, color_scheme=scheme) as tab:
        assert tab.page.evaluate(CONTRAST) == {}


def test_on_paper_there_are_no_controls_and_the_numbers_are_unfolded(tab: Tab) -> None:
    tab.page.emulate_media(media="print")
    for selector in ("nav", ".filters", "button.more"):
        expect(tab.page.locator(selector)).to_be_hidden()
    expect(tab.page.get_by_role("table", name="On 40 test rows")).to_be_visible()
    assert tab.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert tab.page.pdf(format="A4").startswith(b"%PDF")


def test_without_scripts_every_row_is_there_to_read(browser: Browser, path: Path) -> None:
    with open_page(browser, path, java_script_enabled=False) as tab:
        expect(tab.page.locator(".answer")).to_have_count(40)
        expect(tab.page.locator(".filters")).to_be_hidden()
        tab.page.get_by_text("34 more", exact=True).click()
        expect(tab.page.locator(".answer").last).to_be_visible()


def test_a_long_word_does_not_widen_the_page(browser: Browser, tmp_path: Path) -> None:
    path, word = tmp_path / "report.html", "w" * 3000
    rows = [example(1, source=word, prompt=word, tuned=word, baseline=word)]
    labels = [f"{'label' * 20}{number}" for number in range(12)]
    told = evaluation(labels=labels, confusion=[[10] * 13 for _ in labels])
    asked = request(data={"train": [{"uri": f"s3://team/{'d' * 900}"}]})
    path.write_text(render_html(full_result(examples=rows, report=report(evaluation=told), request=asked)))
    with open_page(browser, path, viewport={"width": 390, "height": 844}) as tab:
        assert tab.page.evaluate("document.documentElement.scrollWidth") == 390


@pytest.mark.skipif("UPDATE_SCREENSHOTS" not in os.environ, reason="UPDATE_SCREENSHOTS is not set: no picture is made")
def test_the_pictures_of_the_docs_are_made_anew(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text(render_html(recorded_result()))
    IMAGES.mkdir(exist_ok=True)
    for name, (width, height) in WIDTHS.items():
        with open_page(browser, path, viewport={"width": width, "height": height}) as tab:
            tab.page.screenshot(path=IMAGES / f"report-{name}.png")
            tab.page.locator("#answers").evaluate("node => node.scrollIntoView()")
            tab.page.screenshot(path=IMAGES / f"report-{name}-answers.png")
