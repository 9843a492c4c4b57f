"""Exit codes of the trainer, and what Kubernetes does about each: the one rule table.

The table becomes the child Job's `podFailurePolicy` and the classification in status; the docs print it.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final, Literal

FailureClass = Literal[
    "Settings", "Data", "Credentials", "OutOfMemory", "Diverged", "Gates", "Infrastructure", "Preempted"
]


class ExitCode(IntEnum):
    """What the trainer's process ends with."""

    SUCCESS = 0
    SETTINGS = 10
    DATA = 11
    CREDENTIALS = 12
    OUT_OF_MEMORY = 13
    DIVERGED = 14
    GATES_FAILED = 15
    INFRASTRUCTURE = 20
    PREEMPTED = 75


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What an exit code means and what follows."""

    code: ExitCode
    failure_class: FailureClass
    action: Literal["FailJob", "Count", "Ignore"]
    """podFailurePolicy: FailJob ends the job, Count uses up a retry, Ignore tries again for free."""
    meaning: str

    @property
    def retryable(self) -> bool:
        """Whether another attempt may help."""
        return self.action != "FailJob"


RULES: Final = (
    Rule(code=ExitCode.SETTINGS, failure_class="Settings", action="FailJob", meaning="the spec cannot work as written"),
    Rule(code=ExitCode.DATA, failure_class="Data", action="FailJob", meaning="the data cannot be used"),
    Rule(code=ExitCode.CREDENTIALS, failure_class="Credentials", action="FailJob", meaning="S3 refused the job"),
    Rule(code=ExitCode.OUT_OF_MEMORY, failure_class="OutOfMemory", action="FailJob", meaning="memory did not suffice"),
    Rule(code=ExitCode.DIVERGED, failure_class="Diverged", action="FailJob", meaning="the loss is not finite or rises"),
    Rule(code=ExitCode.GATES_FAILED, failure_class="Gates", action="FailJob", meaning="a gate does not hold"),
    Rule(code=ExitCode.INFRASTRUCTURE, failure_class="Infrastructure", action="Count", meaning="worth another attempt"),
    Rule(code=ExitCode.PREEMPTED, failure_class="Preempted", action="Ignore", meaning="asked to stop, state saved"),
)

RULE_BY_CODE: Final = {int(rule.code): rule for rule in RULES}
RULE_BY_CLASS: Final = {rule.failure_class: rule for rule in RULES}
