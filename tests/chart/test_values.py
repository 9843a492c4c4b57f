"""Every value of the chart is explained where it stands, and typed."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from rendered_chart import CHART, template

LINES = (CHART / "values.yaml").read_text().splitlines()
VALUES = yaml.safe_load("\n".join(LINES))
SCHEMA = json.loads((CHART / "values.schema.json").read_text())


def paths(values: dict[str, Any], *above: str) -> Iterator[tuple[str, ...]]:
    """Every value, groups of values left out; maps that a user fills in are values."""
    for name, value in values.items():
        if isinstance(value, dict) and "properties" in schema_of(*above, name):
            yield from paths(value, *above, name)
        else:
            yield (*above, name)


def schema_of(*path: str) -> dict[str, Any]:
    found = SCHEMA
    for name in path:
        found = found["properties"][name]
        if "$ref" in found:
            found = SCHEMA["definitions"][found["$ref"].rpartition("/")[2]]
    return found


def typed(schema: dict[str, Any], *above: str) -> Iterator[tuple[str, ...]]:
    """Every value that the schema knows."""
    for name in schema["properties"]:
        if "properties" in schema_of(*above, name):
            yield from typed(schema_of(*above, name), *above, name)
        else:
            yield (*above, name)


def line_of(path: tuple[str, ...]) -> int:
    """Where the value stands in values.yaml."""
    start = 0
    for depth, name in enumerate(path):
        start = next(n for n in range(start, len(LINES)) if re.match(rf"{'  ' * depth}{re.escape(name)}:", LINES[n]))
    return start


@pytest.mark.parametrize("path", list(paths(VALUES)), ids=".".join)
def test_a_value_is_explained_in_the_line_above_it(path: tuple[str, ...]) -> None:
    assert LINES[line_of(path) - 1].strip().startswith("#")


def test_the_schema_knows_the_same_values() -> None:
    assert set(typed(SCHEMA)) - {("global",)} == set(paths(VALUES))


@pytest.mark.cluster
def test_helm_names_every_value_that_is_of_a_wrong_type(tmp_path: Path) -> None:
    wrong: dict[str, Any] = {}
    for *above, name in paths(VALUES):
        group = wrong
        for each in above:
            group = group.setdefault(each, {})
        group[name] = [[[]]]
    (tmp_path / "values.yaml").write_text(yaml.safe_dump(wrong))
    told = template("--values", str(tmp_path / "values.yaml")).stderr
    silent = [".".join(path) for path in paths(VALUES) if f"- at '/{'/'.join(path)}" not in told]
    assert silent == []


def test_every_group_refuses_what_it_does_not_know() -> None:
    groups = {path[:depth] for path in paths(VALUES) for depth in range(len(path))}
    assert [".".join(group) for group in groups if schema_of(*group).get("additionalProperties") is not False] == []
