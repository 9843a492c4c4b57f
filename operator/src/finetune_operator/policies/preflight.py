"""Preflight: data, model and storage are checked on a CPU before any GPU is asked for."""

from datetime import datetime
from typing import Final

from finetune_api.conditions import Reason
from finetune_api.digest import spec_digest
from finetune_api.progress import Progress
from finetune_api.report import TrainerReport
from finetune_api.spec.job import FinetuneJobSpec
from finetune_api.status import Phase
from finetune_operator.child_view import ChildView, Stand, view
from finetune_operator.failures import failure
from finetune_operator.observe import Child, FinetuneJob, Observed
from finetune_operator.policies import create, lost_report, suspend
from finetune_operator.settings import Settings
from finetune_operator.step import Step, failed

CHECKING = "Checking data and model on a CPU"
_PHASES: Final[dict[Stand, Phase]] = {Stand.QUEUED: "Queued", Stand.HELD: "Suspended"}


def step(job: FinetuneJob, spec: FinetuneJobSpec, observed: Observed, now: datetime, settings: Settings) -> Step:
    """Towards a report of preflight. A passed one without an adopted adapter is left to the training policy."""
    child = observed.preflight
    seen = view(child, spec_digest(spec), now)
    if seen.stand == Stand.MISSING:
        begun = Step(phase="Validating", reason=Reason.PREFLIGHT_RUNNING, message=CHECKING)
        return create.step(job, spec, "preflight", validated=None, begun=begun, observed=observed, settings=settings)
    if seen.stand == Stand.LOST and child is not None:
        return lost_report.step(job, child.job, "Validating")
    if seen.report is not None:
        return _passed(seen.report)
    if seen.failure is not None:
        return failed(seen.failure, report=seen.refused)
    return _waiting(seen, child, observed.progress)


def _passed(report: TrainerReport) -> Step:
    if report.artifact is not None:
        message = "The output already holds this job's adapter; nothing was trained again"
        return Step(phase="Complete", reason=Reason.OUTPUT_ADOPTED, message=message, reports=(report,))
    if report.data is None or report.prepared is None:
        message = "The preflight report does not say what it has found and prepared"
        advice = "The trainer image is not of this operator's version: correct the operator's trainer image."
        return failed(failure("Infrastructure", Reason.INTERNAL, message, advice))
    return Step(phase="Starting", reason=Reason.PREFLIGHT_PASSED, message="Preflight passed", reports=(report,))


def _waiting(seen: ChildView, child: Child | None, progress: Progress | None) -> Step:
    reason = seen.reason
    if reason in (Reason.TRAINER_STARTING, Reason.TRAINER_RUNNING, Reason.PENDING):
        reason = Reason.PREFLIGHT_RUNNING
    activity = _activity(progress) if seen.stand == Stand.RUNNING else CHECKING
    message = seen.message or (f"{activity}, {seen.attempt}" if seen.attempt else activity)
    return Step(
        phase=_PHASES.get(seen.stand, "Validating"),
        reason=reason,
        message=message,
        actions=suspend.resume(child),
        queue=seen.queue,
        stalled=seen.stalled,
        wait=seen.wait,
        recheck_after=seen.recheck_after,
    )


def _activity(progress: Progress | None) -> str:
    return f"Checking data: {progress.rows:,} rows" if progress is not None and progress.rows else CHECKING
