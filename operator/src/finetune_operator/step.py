"""What a policy concludes: where the job stands, what to do, what was learnt. Status is computed from it."""

from dataclasses import dataclass, replace

from finetune_api.conditions import Reason
from finetune_api.report import TrainerReport
from finetune_api.status import FailureStatus, Phase, RestartStatus
from finetune_operator.actions import Action
from finetune_operator.queue_view import QueueView
from finetune_operator.wait import Wait


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Where a job stands and what follows."""

    phase: Phase
    reason: Reason
    message: str
    actions: tuple[Action, ...] = ()
    queue: QueueView | None = None
    """How its Job stands with Kueue, if Kueue has a say."""
    stalled: bool = False
    """Whether it cannot go on without somebody's help."""
    reports: tuple[TrainerReport, ...] = ()
    """What was reported and this step takes into status, preflight's before training's."""
    failure: FailureStatus | None = None
    wait: Wait | None = None
    """What keeps it from going on, to be judged by the deadlines."""
    lost_report: bool = False
    """Whether the step runs a finished Job again for its report."""
    restarts: RestartStatus | None = None
    """What is to be remembered of the end of a Job of several pods."""
    recheck_after: float | None = None
    """Seconds until time alone can change the step."""

    def looked_at_after(self, seconds: float) -> "Step":
        """The step, looked at again after that long at the latest."""
        sooner = seconds if self.recheck_after is None else min(seconds, self.recheck_after)
        return replace(self, recheck_after=sooner)

    @property
    def terminal(self) -> bool:
        """Whether nothing follows."""
        return self.phase in ("Complete", "Failed")


def failed(
    failure: FailureStatus,
    *,
    reason: Reason | None = None,
    message: str = "",
    report: TrainerReport | None = None,
) -> Step:
    """The end without an adapter, or with one that its gates refuse and `report` tells of."""
    reason = reason if reason is not None else Reason(failure.reason)
    reports = (report,) if report is not None else ()
    return Step(phase="Failed", reason=reason, message=message or failure.message, failure=failure, reports=reports)
