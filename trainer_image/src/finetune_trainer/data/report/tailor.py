"""One job's view of a report: jobs that share prepared data share its report, and may judge and show it differently."""

import re
from collections.abc import Mapping, Sequence
from typing import Final

from finetune_api.report import Failure
from finetune_trainer.data.report.content import BadRow, DataReport
from finetune_trainer.data.report.findings import find

_VALUE: Final = re.compile(r"""\bis (?:(['"])(?:\\.|(?!\1).)*(?:\1|$)|[\[{].*)""", re.DOTALL)


def tailor(report: DataReport, *, about: Mapping[str, str], refusal: Failure | None, show_rows: bool) -> DataReport:
    """The report as one job publishes it.

    Args:
        report: what was found in the data.
        about: what the report is on, shown at its top: digest, model, template and the like.
        refusal: why the job does not accept the data; None where it does.
        show_rows: `spec.data.showRows`; without it no text of rows is left.

    """
    changes: dict[str, object] = {"about": dict(about), "refusal": refusal}
    if not show_rows:
        rows = report.bad.model_copy(update={"rows": _without_values(report.bad.rows)})
        changes |= {"shown": None, "bad": rows}
        if refusal:
            changes["refusal"] = refusal.model_copy(update={"message": hide_values(refusal.message)})
    tailored = report.model_copy(update=changes)
    return tailored.model_copy(update={"findings": find(tailored)})


def hide_values(problem: str) -> str:
    """A problem without what it quotes of the row (`field 'role' is 'robot'`); names of fields stay.

    A quotation that was cut short has no end, so all that follows goes with it.
    """
    return "\n".join(_VALUE.sub("is (hidden)", line) for line in problem.split("\n"))


def _without_values(rows: Sequence[BadRow]) -> list[BadRow]:
    return [row.model_copy(update={"problem": hide_values(row.problem)}) for row in rows]
