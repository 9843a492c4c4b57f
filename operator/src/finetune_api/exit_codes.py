"""How a job can fail, and what follows: the one rule table.

The table becomes the child Job's `podFailurePolicy`, what the operator ends itself, and the classification in status;
docs/failures.md prints it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, Literal

FailureClass = Literal[
    "Settings",
    "Data",
    "Credentials",
    "OutOfMemory",
    "Diverged",
    "Gates",
    "Infrastructure",
    "Preempted",
    "Cluster",
    "Limits",
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
    RANKS_PREEMPTED = 76


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What a class of failure means and what follows."""

    code: ExitCode | None = None
    """What the trainer ends with; None for what the operator finds itself."""
    failure_class: FailureClass
    action: Literal["FailJob", "Count", "Ignore"]
    """podFailurePolicy: FailJob ends the job, Count uses up a retry, Ignore tries again for free.

    Of several nodes whatever ends a pod ends the Job, and the operator does the same by a new Job for all pods.
    """
    meaning: str
    most: int | None = None
    """Attempts that may end so, however many retries are left."""

    @property
    def retryable(self) -> bool:
        """Whether trying again unchanged may help."""
        return self.action != "FailJob" and self.most is None


RULES: Final = (
    Rule(code=ExitCode.SETTINGS, failure_class="Settings", action="FailJob", meaning="the spec cannot work as written"),
    Rule(code=ExitCode.DATA, failure_class="Data", action="FailJob", meaning="the data cannot be used"),
    Rule(code=ExitCode.CREDENTIALS, failure_class="Credentials", action="FailJob", meaning="S3 refused the job"),
    Rule(
        code=ExitCode.OUT_OF_MEMORY,
        failure_class="OutOfMemory",
        action="Count",
        meaning="memory of GPU or machine did not suffice",
        most=2,
    ),
    Rule(code=ExitCode.DIVERGED, failure_class="Diverged", action="FailJob", meaning="the loss is not finite or rises"),
    Rule(code=ExitCode.GATES_FAILED, failure_class="Gates", action="FailJob", meaning="a gate does not hold"),
    Rule(code=ExitCode.INFRASTRUCTURE, failure_class="Infrastructure", action="Count", meaning="worth another attempt"),
    Rule(code=ExitCode.PREEMPTED, failure_class="Preempted", action="Ignore", meaning="asked to stop, state saved"),
    Rule(
        code=ExitCode.RANKS_PREEMPTED,
        failure_class="Preempted",
        action="Ignore",
        meaning="some of several pods were asked to stop, so all did; state saved",
    ),
    Rule(failure_class="Cluster", action="FailJob", meaning="the cluster cannot run the pod"),
    Rule(failure_class="Limits", action="FailJob", meaning="a bound of spec.limits is reached"),
)

JOB_GOES_ON: Final = (ExitCode.PREEMPTED,)
"""Several nodes: codes after which the Job itself goes on, because it is suspended and all of its pods were asked."""

RULE_BY_CODE: Final = {int(rule.code): rule for rule in RULES if rule.code is not None}
RULE_BY_CLASS: Final = {rule.failure_class: rule for rule in RULES}
"""Rules of one class agree in what follows."""
RULE_BY_NAME: Final[Mapping[str, Rule]] = {str(name): rule for name, rule in RULE_BY_CLASS.items()}
"""By the word that stands in status."""
