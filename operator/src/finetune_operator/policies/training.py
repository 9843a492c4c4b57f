"""Training: one Job, for as long as its template holds, that trains on exactly what preflight validated."""

from datetime import datetime
from typing import Final

from finetune_api.conditions import Reason
from finetune_api.digest import spec_digest
from finetune_api.report import TrainerReport
from finetune_api.spec.job import FinetuneJobSpec
from finetune_api.status import DataStatus, FailureStatus, Phase
from finetune_operator.child_view import ChildView, Stand, view
from finetune_operator.failures import failure
from finetune_operator.observe import Child, FinetuneJob, Observed
from finetune_operator.policies import bad_nodes, create, lost_report, restart, suspend
from finetune_operator.settings import Settings
from finetune_operator.step import Step, failed

_PHASES: Final[dict[Stand, Phase]] = {Stand.RUNNING: "Running", Stand.QUEUED: "Queued", Stand.HELD: "Suspended"}


def step(
    job: FinetuneJob,
    spec: FinetuneJobSpec,
    validated: DataStatus,
    *,
    observed: Observed,
    now: datetime,
    settings: Settings,
) -> Step:
    """Towards the adapter; `validated` is what preflight found."""
    child = observed.train
    seen = view(child, spec_digest(spec), now)
    if seen.stand == Stand.MISSING:
        begun = _begun(job, spec)
        return create.step(job, spec, "train", validated=validated, begun=begun, observed=observed, settings=settings)
    if seen.stand == Stand.LOST and child is not None:
        return lost_report.step(job, child.job, "Starting")
    if seen.report is not None:
        return _succeeded(seen.report)
    if seen.failure is not None:
        if child is not None and child.job.completions > 1:
            return restart.step(job, spec, seen.failure, seen.refused, child.job)
        return _failed(seen, seen.failure, child)
    return bad_nodes.replace_job(_under_way(seen, spec, child), job, child)


def _begun(job: FinetuneJob, spec: FinetuneJobSpec) -> Step:
    counted = job.status.restarts.counted if job.status.restarts is not None else 0
    message = _starting(spec) + restart.attempt(counted, spec)
    return Step(phase="Starting", reason=Reason.TRAINER_STARTING, message=message)


def _succeeded(report: TrainerReport) -> Step:
    if report.artifact is None:
        message = "The training report names no adapter"
        advice = "The trainer image is not of this operator's version: correct the operator's trainer image."
        return failed(failure("Infrastructure", Reason.INTERNAL, message, advice))
    reason = Reason.OUTPUT_ADOPTED if report.adopted else Reason.ADAPTER_READY
    message = f"The adapter is ready at {report.artifact.uri}"
    return Step(phase="Complete", reason=reason, message=message, reports=(report,))


def _failed(seen: ChildView, why: FailureStatus, child: Child | None) -> Step:
    if not seen.exhausted or child is None:
        return failed(why, report=seen.refused)
    message = f"The last of {child.job.backoff_limit + 1} attempts failed with {why.reason}: {why.message}"
    return failed(why, reason=Reason.BACKOFF_LIMIT_EXCEEDED, message=message)


def _under_way(seen: ChildView, spec: FinetuneJobSpec, child: Child | None) -> Step:
    activity = _training(spec) if seen.stand == Stand.RUNNING else _starting(spec)
    return Step(
        phase=_PHASES.get(seen.stand, "Starting"),
        reason=Reason.TRAINER_STARTING if seen.reason == Reason.PENDING else seen.reason,
        message=seen.message or (f"{activity}, {seen.attempt}" if seen.attempt else activity),
        actions=suspend.resume(child),
        queue=seen.queue,
        stalled=seen.stalled,
        wait=seen.wait,
        recheck_after=seen.recheck_after,
    )


def _training(spec: FinetuneJobSpec) -> str:
    gpus = spec.resources.gpus
    where = f"{gpus.count} {gpus.resource_name}" if gpus.count else "the CPU"
    return f"Training on {where}{_of_each_node(spec)}"


def _starting(spec: FinetuneJobSpec) -> str:
    gpus = spec.resources.gpus
    where = f" on {gpus.count} {gpus.resource_name}" if gpus.count else ""
    return f"Starting the trainer{where}{_of_each_node(spec)}"


def _of_each_node(spec: FinetuneJobSpec) -> str:
    return f" of each of {spec.resources.nodes} pods" if spec.resources.nodes > 1 else ""
