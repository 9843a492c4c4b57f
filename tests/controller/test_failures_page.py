"""docs/failures.md says what the code does: the rule table and the deadlines, row by row."""

from collections.abc import Iterator
from pathlib import Path

from finetune_api.exit_codes import RULES, Rule
from finetune_operator import clock
from finetune_operator.policies.deadline import BOUNDS

PAGE = (Path(__file__).parents[2] / "docs" / "failures.md").read_text()


def rows(heading: str) -> list[tuple[str, ...]]:
    """Cells of the first table under a heading, without its head."""
    lines = PAGE.split(f"## {heading}\n")[1].splitlines()
    return list(_rows(iter(lines)))[2:]


def _rows(lines: Iterator[str]) -> Iterator[tuple[str, ...]]:
    is_in = False
    for line in lines:
        if line.startswith("|"):
            is_in = True
            yield tuple(cell.strip() for cell in line.strip("|").split("|"))
        elif is_in:
            return


def attempts(rule: Rule) -> str:
    if rule.most is not None:
        return str(rule.most)
    return {"FailJob": "1", "Count": "limits.retries + 1", "Ignore": "any"}[rule.action]


def test_the_rule_table_is_the_one_that_the_code_reads() -> None:
    expected = [
        (rule.failure_class, str(int(rule.code)) if rule.code is not None else "", rule.action, attempts(rule))
        for rule in RULES
    ]
    assert [row[:4] for row in rows("The rule table")] == expected


def test_every_class_says_what_happened_and_what_to_do() -> None:
    for row in rows("The rule table"):
        assert len(row) == 6
        assert all(row[4:])


def test_the_deadlines_are_those_of_the_code() -> None:
    expected = {
        (
            reason.value,
            clock.duration(bound.seconds) if bound.seconds else f"never (limits.{bound.field})",
            bound.failure_class,
        )
        for reason, bound in BOUNDS.items()
    }
    assert set(rows("Waits that end")) == expected
