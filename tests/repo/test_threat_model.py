"""docs/threat-model.md: every threat has an id of its own and a test that exists."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROW = re.compile(r"^\| (?P<id>[a-z0-9-]+) \| (?P<threat>.+) \| (?P<refused>.+) \| `(?P<test>[^`]+)` \|$", re.M)
PAGE = (ROOT / "docs" / "threat-model.md").read_text()
THREATS = {found["id"]: found["test"] for found in ROW.finditer(PAGE)}

ASKED_FOR = {
    "privileged-override",
    "foreign-namespace",
    "foreign-prefix",
    "foreign-prefix-in-s3",
    "metadata-address",
    "other-service-account",
    "pickle",
    "remote-code",
    "template-escape",
    "template-bomb",
    "path-in-keys",
    "keys-of-files",
    "archives",
    "zip-bomb",
    "html-in-rows",
    "secrets-in-logs",
    "secrets-in-s3",
    "secrets-anywhere",
}
"""What must not go from the page, whatever comes to it."""


@cache
def functions_of(path: Path) -> frozenset[str]:
    tree = ast.parse(path.read_text())
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef))


def test_the_page_tells_of_every_threat_that_it_must() -> None:
    assert set(THREATS) >= ASKED_FOR


def test_every_line_of_a_table_is_read_and_has_an_id_of_its_own() -> None:
    lines = [line for line in PAGE.splitlines() if line.startswith("| ") and "`tests/" in line]
    assert len(THREATS) == len(lines)


@pytest.mark.parametrize("test", THREATS.values(), ids=THREATS)
def test_the_test_that_a_threat_names_is_there(test: str) -> None:
    path, _, name = test.partition("::")
    assert name.startswith("test_")
    assert name in functions_of(ROOT / path)
