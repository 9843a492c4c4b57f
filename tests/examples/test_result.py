"""The tables that end a run show what a job of any objective has, and nothing it has not."""

from typing import Any

from examples.demo.result import tables
from rich.console import Console

SCORES = {"delta": "+0.5000", "low": "+0.3000", "high": "+0.7000", "verdict": "better"}


def shown(evaluation: dict[str, Any], report: dict[str, Any], examples: list[dict[str, Any]]) -> str:
    console = Console(width=140, record=True, file=None)
    with console.capture() as capture:
        for table in tables(evaluation, report, examples):
            console.print(table)
    return capture.get()


def test_each_rival_has_a_column_and_a_metric_without_it_an_empty_cell() -> None:
    accuracy = {"name": "accuracy", "baseline": "0.4", "tuned": "0.9", **SCORES}
    accuracy["rivals"] = [{"name": name, "score": score} for name, score in (("parent", "0.51"), ("few_shot", "0.42"))]
    loss = {"name": "loss", "baseline": "1.2", "tuned": "0.3", **SCORES}
    lines = [line for line in shown({"rows": 60, "metrics": [accuracy, loss]}, {}, []).splitlines() if line.strip()]
    _title, header, _rule, first, second = lines
    assert header.split()[:5] == ["metric", "baseline", "few-shot", "parent", "tuned"]
    assert first.split()[:5] == ["accuracy", "0.40", "0.42", "0.51", "0.90"]
    assert second.split()[:3] == ["loss", "1.20", "0.30"]


def test_slices_are_shown_by_the_headline_metric() -> None:
    loss = {"name": "loss", "baseline": "4.0", "tuned": "2.0", **SCORES}
    slices = [
        {"name": "manual", "rows": 32, "baseline": "4.5", "tuned": "1.5"},
        {"name": "general", "rows": 20, "baseline": "3.5", "tuned": "3.5"},
    ]
    text = shown({"rows": 52, "metrics": [loss], "slices": slices}, {}, [])
    assert "loss by data set" in text
    assert ["manual", "32", "4.50", "1.50"] in [line.split() for line in text.splitlines()]


def test_a_confusion_matrix_has_a_column_for_no_label_only_where_it_counts() -> None:
    accuracy = {"name": "accuracy", "baseline": "0.4", "tuned": "0.9", **SCORES}
    evaluation = {"rows": 4, "metrics": [accuracy]}
    clean = shown(evaluation, {"labels": ["yes", "no"], "confusion": [[2, 0, 0], [1, 1, 0]]}, [])
    assert ["yes", "2", "0"] in [line.split() for line in clean.splitlines()]
    assert "no label" not in clean
    assert "no label" in shown(evaluation, {"labels": ["yes", "no"], "confusion": [[1, 0, 1], [1, 1, 0]]}, [])


def test_answers_stand_side_by_side_as_text_and_raw_text_has_none() -> None:
    evaluation = {"rows": 1, "metrics": [{"name": "loss", "baseline": "4.0", "tuned": "2.0", **SCORES}]}
    row = {"prompt": "Say [bold]x[/]", "baseline": "no", "tuned": "yes", "reference": "yes"}
    assert "Say [bold]x[/]" in shown(evaluation, {}, [row])
    assert "Side by side" not in shown(evaluation, {}, [row | {"baseline": "", "tuned": "", "reference": ""}])
