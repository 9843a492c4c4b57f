"""The dashboards are what Grafana's schema says, and ask for what operator and trainer really export."""

import json
from collections.abc import Iterator
from itertools import combinations
from typing import Any

import pytest
from exported_metrics import of_the_operator, of_the_trainer
from monitoring_judges import judge
from rendered_chart import CHART

BOARDS = {path.stem: json.loads(path.read_text()) for path in sorted((CHART / "files" / "dashboards").glob("*.json"))}
EXPORTED = [*of_the_operator(), *of_the_trainer()]
GIVEN = {"namespace", "pod", "job", "finetunejob", "le"}
"""Labels that a target gives, and a bucket's."""


def panels(board: dict[str, Any]) -> Iterator[dict[str, Any]]:
    return (panel for panel in board["panels"] if panel["type"] != "row")


def expressions(board: dict[str, Any]) -> list[str]:
    asked = [target["expr"] for panel in panels(board) for target in panel["targets"]]
    variables = [each["query"]["query"] for each in board["templating"]["list"] if each["type"] == "query"]
    return asked + [query.removeprefix("label_values(").rsplit(",", 1)[0] for query in variables]


def test_they_are_what_grafana_s_schema_says() -> None:
    assert len(BOARDS) == 2
    assert judge([], BOARDS).faults == {}


@pytest.mark.parametrize("name", BOARDS)
def test_a_field_that_grafana_does_not_know_is_found(name: str) -> None:
    for place in (lambda panel: panel, lambda panel: panel["options"], lambda panel: panel["fieldConfig"]["defaults"]):
        wrong = json.loads(json.dumps(BOARDS[name]))
        place(wrong["panels"][1])["unti"] = "s"
        assert "unti" in judge([], {name: wrong}).faults[name]


@pytest.mark.parametrize("name", BOARDS)
def test_every_query_asks_for_series_that_are_exported_by_labels_that_they_have(name: str) -> None:
    found = judge(expressions(BOARDS[name]))
    assert found.faults == {}
    labels = {series: set(each.labels) for each in EXPORTED for series in each.series}
    for asked in (each for read in found.series.values() for each in read):
        assert asked.metric in labels, f"nobody exports {asked.metric}"
        assert labels[asked.metric] | GIVEN >= asked.labels, asked


def test_every_metric_of_ours_is_on_a_dashboard() -> None:
    found = judge([expression for board in BOARDS.values() for expression in expressions(board)])
    asked = {each.metric for read in found.series.values() for each in read}
    ours = {each.name: each.series for each in EXPORTED if each.name.startswith("finetune_")}
    not_shown = {name for name, series in ours.items() if not series & asked}
    assert not_shown == {"finetune_trainer_step_seconds_total", "finetune_trainer_checkpoint_step"}


@pytest.mark.parametrize("name", BOARDS)
def test_panels_do_not_overlap_and_bear_a_title_and_an_id_of_their_own(name: str) -> None:
    boxes = [panel["gridPos"] for panel in BOARDS[name]["panels"]]
    for one, other in combinations(boxes, 2):
        apart = [one[at] + one[size] <= other[at] or other[at] + other[size] <= one[at] for at, size in ("xw", "yh")]
        assert any(apart), (one, other)
    assert all(box["x"] + box["w"] <= 24 for box in boxes)
    assert all(panel["title"] for panel in BOARDS[name]["panels"])
    identifiers = [panel["id"] for panel in BOARDS[name]["panels"]]
    assert len(set(identifiers)) == len(identifiers)
