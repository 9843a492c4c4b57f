"""docs/troubleshooting.md has a row for every reason, and no other."""

from collections import Counter

from monitoring_judges import ROOT

from finetune_api.conditions import Reason

LINES = (ROOT / "docs" / "troubleshooting.md").read_text().splitlines()
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in LINES if line.startswith("| ")]
REASONS = [row for row in ROWS if row[0] != "reason"]


def test_every_reason_has_one_row_and_there_is_no_other() -> None:
    assert Counter(row[0] for row in REASONS) == Counter(reason.value for reason in Reason)


def test_every_row_says_what_it_means_and_what_to_do() -> None:
    assert all(len(row) == 3 and all(row) for row in REASONS)
