"""What a release rests on agrees with itself: one version everywhere, and pages whose commands and links are there."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from shell_blocks import ROOT, run, shell_blocks

CHART = ROOT / "charts" / "finetune-operator"
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("examples/*/README.md")])


def ids(page: Path) -> str:
    return str(page.relative_to(ROOT))


def test_the_chart_has_the_projects_version() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (VERSION, VERSION)


def test_the_changelog_begins_with_this_version() -> None:
    headings = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == VERSION


def test_the_list_of_images_is_of_this_version() -> None:
    assert {image.rpartition(":")[2] for image in (CHART / "images.txt").read_text().split()} == {VERSION}


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_every_target_of_make_that_a_page_names_is_there(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:^|`)make ([a-z][a-z-]+)", page.read_text(), re.MULTILINE)) <= targets


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_every_file_that_a_page_links_to_is_there(page: Path) -> None:
    links = re.findall(r"\]\((?!https?://|#|mailto:)([^)#\s]+)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_the_first_test_of_a_contributor_runs() -> None:
    (commands,) = shell_blocks(ROOT / "CONTRIBUTING.md")["From a clone to a green change"]
    verify, pytest_command = commands.strip().splitlines()
    assert verify == "make verify"
    assert "passed" in run(pytest_command, ROOT)
