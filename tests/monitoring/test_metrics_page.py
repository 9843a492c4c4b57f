"""docs/metrics.md lists what is exported, row by row: name, type, labels and meaning."""

import pytest
from exported_metrics import Exported, of_the_operator, of_the_trainer
from monitoring_judges import ROOT

PAGE = (ROOT / "docs" / "metrics.md").read_text()
LIBRARIES = ("process_", "python_")


def rows(*headings: str) -> set[tuple[str, ...]]:
    """Cells of the tables under the headings, without the unit."""
    parts = [PAGE.split(f"## {heading}\n")[1].split("\n## ")[0] for heading in headings]
    lines = [line for part in parts for line in part.splitlines() if line.startswith("| `")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert all(cell for row in cells for cell in (row[3], row[4]))
    return {(name.strip("`"), kind, labels, meaning) for name, kind, labels, _, meaning in cells}


def expected(exported: list[Exported]) -> set[tuple[str, ...]]:
    own = [each for each in exported if not each.name.startswith(LIBRARIES)]
    return {(each.name, each.type, ", ".join(each.labels), each.meaning) for each in own}


def test_every_metric_of_the_operator_is_listed() -> None:
    assert rows("Of the jobs", "Of the operator itself") == expected(of_the_operator())


def test_every_metric_of_the_trainer_is_listed() -> None:
    assert rows("Of a trainer") == expected(of_the_trainer())


@pytest.mark.parametrize("exported", [*of_the_operator(), *of_the_trainer()], ids=lambda each: each.name)
def test_a_name_has_its_unit_and_no_label_is_a_jobs(exported: Exported) -> None:
    assert not {"name", "job", "finetunejob", "pod", "uid"} & set(exported.labels) or exported.name.startswith(
        ("workqueue_", "leader_election_")
    )
    assert exported.name.endswith("_total") == (exported.type == "counter")
    if exported.type == "histogram":
        assert exported.name.endswith("_seconds")
        assert "namespace" not in exported.labels
