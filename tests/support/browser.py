"""A real browser for the tests of pages: Debian's Chromium, driven by Playwright."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, sync_playwright

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")


@dataclass
class Tab:
    """An open page, and what went wrong with it."""

    page: Any
    complaints: list[str] = field(default_factory=list)
    """What the console and the policy said."""
    requests: list[str] = field(default_factory=list)
    """What it asked for beside itself."""


@contextmanager
def chromium() -> Iterator[Browser]:
    """The browser, headless."""
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        pytest.skip("no browser on this machine: apt-get install chromium")
    with sync_playwright() as playwright:
        # As root Chromium's own sandbox does not start; it shows nothing but our page.
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def open_page(browser: Browser, path: Path, **options: Any) -> Iterator[Tab]:
    """A file in a tab of its own; `options` are Playwright's of a context."""
    context = browser.new_context(**options)
    tab = Tab(context.new_page())
    tab.page.on("console", lambda message: tab.complaints.append(message.text))
    tab.page.on("pageerror", lambda error: tab.complaints.append(str(error)))
    tab.page.on("request", lambda request: tab.requests.append(request.url))
    tab.page.goto(path.as_uri())
    tab.requests.remove(path.as_uri())
    try:
        yield tab
    finally:
        context.close()
