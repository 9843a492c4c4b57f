"""`.status`, computed whole from what was known, what is observed and the step that was decided."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from finetune_api.digest import spec_digest
from finetune_api.report import TrainerReport
from finetune_api.status import (
    AttemptStatus,
    CheckpointStatus,
    FinetuneJobStatus,
    ProgressStatus,
    QueueStatus,
)
from finetune_operator import clock, results
from finetune_operator.attempts import held_seconds, merge, newly_finished, useful_gpu_seconds, with_gpu_time
from finetune_operator.conditions import conditions, phase
from finetune_operator.failures import NOTE, TEXT, clip
from finetune_operator.observe import FinetuneJob, Observed
from finetune_operator.policies import bad_nodes
from finetune_operator.status_size import fitted
from finetune_operator.step import Step


def next_status(
    job: FinetuneJob, observed: Observed, step: Step, image: str | None, now: datetime
) -> FinetuneJobStatus:
    """The status after a step."""
    before = job.status
    attempts = _attempts(job, observed, now)
    ended = newly_finished(before.attempts, attempts)
    status = before.model_copy(update={"attempts": attempts, "image": image, **_learnt(step.reports)})
    claims = conditions(
        before.conditions,
        step,
        validated=_validated(job, status),
        gates=status.evaluation.gates if status.evaluation is not None else (),
        generation=job.generation,
        now=now,
    )
    whole = status.model_copy(
        update={
            "observed_generation": job.generation,
            "phase": phase(claims),
            "message": clip(step.message, TEXT),
            "conditions": claims,
            "run_id": job.spec.run_id if job.spec is not None else before.run_id,
            "spec_digest": spec_digest(job.spec) if job.spec is not None else before.spec_digest,
            "progress": _progress(before, observed, step),
            "checkpoint": _checkpoint(status, observed),
            "queue": _queue(before, step),
            "restarts": step.restarts or before.restarts,
            "lost_reports": before.lost_reports + int(step.lost_report),
            "failure": step.failure,
            "started_at": before.started_at or (attempts[0].started_at if attempts else None),
            "finished_at": _finished_at(before, attempts, step, now),
            "failed_attempts": before.failed_attempts + sum(attempt.outcome == "Failed" for attempt in ended),
            "avoided_nodes": bad_nodes.avoided(before.avoided_nodes, attempts),
            "run_seconds": before.run_seconds + held_seconds(ended),
            "gpu_seconds": before.gpu_seconds + sum(attempt.gpu_seconds or 0 for attempt in ended),
            "useful_gpu_seconds": before.useful_gpu_seconds + useful_gpu_seconds(ended, _gpus(job)),
        }
    )
    return fitted(whole)


def status_patch(before: FinetuneJobStatus, after: FinetuneJobStatus) -> dict[str, Any]:
    """The merge patch from one status to the other: null for what vanished, empty if nothing differs."""
    return _difference(_dump(before), _dump(after))


def _dump(status: FinetuneJobStatus) -> dict[str, Any]:
    return status.model_dump(mode="json", exclude_none=True)


def _difference(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    patch: dict[str, Any] = {name: None for name in before if name not in after}
    for name, value in after.items():
        old = before.get(name)
        if isinstance(value, dict) and isinstance(old, dict):
            if inner := _difference(old, value):
                patch[name] = inner
        elif value != old:
            patch[name] = value
    return patch


def _attempts(job: FinetuneJob, observed: Observed, now: datetime) -> list[AttemptStatus]:
    suspended = job.spec is not None and job.spec.suspend
    attempts = merge(job.status.attempts, observed.train, observed.progress, suspended=suspended, now=now)
    return with_gpu_time(attempts, _gpus(job))


def _gpus(job: FinetuneJob) -> int:
    return job.spec.resources.total_gpus if job.spec is not None else 0


def _learnt(reports: Iterable[TrainerReport]) -> dict[str, Any]:
    """What successful reports add; what they leave out stays as it is."""
    parts: dict[str, Any] = {}
    for report in reports:
        parts |= {
            **(_prepared(report) if report.kind == "preflight" else {}),
            "evaluation": results.evaluation_status(report.evaluation) if report.evaluation else None,
            "artifact": results.artifact_status(report.artifact) if report.artifact else None,
            "checkpoint": results.checkpoint_status(report.checkpoint) if report.checkpoint else None,
            "report_uri": report.page_uri or report.report_uri,
        }
    return {name: value for name, value in parts.items() if value is not None}


def _prepared(report: TrainerReport) -> dict[str, Any]:
    """What preflight alone finds out; training's report may repeat it, shortened."""
    return {
        "data": results.data_status(report.data, report.prepared) if report.data else None,
        "settings": results.settings_status(report.settings) or None,
        "estimate": results.estimate_status(report.estimate) if report.estimate else None,
    }


def _validated(job: FinetuneJob, status: FinetuneJobStatus) -> str | None:
    data, estimate = status.data, status.estimate
    if data is None:
        return None
    share = f" ({data.supervised_tokens / data.train_tokens:.0%} supervised)" if data.train_tokens else ""
    found = [
        f"Model, data and storage are usable: {data.train_rows:,} training rows with {data.train_tokens:,} tokens"
        f"{share}, {data.validation_rows:,} validation rows, {data.test_rows:,} test rows"
    ]
    if data.bad_rows:
        found.append(f"{data.bad_rows:,} bad rows in quarantine")
    if data.left_out_rows:
        found.append(f"{data.left_out_rows:,} rows left out because they are validation or test rows too")
    wants_gpu = job.spec is not None and job.spec.resources.gpus.count > 0
    if wants_gpu and estimate is not None and estimate.available is None:
        found.append(f"training needs about {estimate.memory} of GPU memory, and how much a GPU has is not known")
    return "; ".join(found)


def _progress(before: FinetuneJobStatus, observed: Observed, step: Step) -> ProgressStatus | None:
    """Training's progress outlives its pod; preflight's says nothing once preflight has ended."""
    validating = step.phase == "Validating"
    last = before.progress if (before.phase == "Validating") == validating else None
    seen = observed.progress
    if step.phase == "Complete":
        return results.finished_progress(step.reports[-1].training if step.reports else None, last)
    if step.phase not in ("Validating", "Running"):
        return results.halted_progress(last)
    if seen is None or (seen.stage == results.VALIDATING and not validating):
        return last
    return results.progress_status(seen)


def _checkpoint(status: FinetuneJobStatus, observed: Observed) -> CheckpointStatus | None:
    if status.artifact is not None:
        # The trainer removes its checkpoints once the adapter is committed.
        return None
    seen = observed.progress.checkpoint if observed.progress is not None else None
    return results.checkpoint_status(seen) if seen is not None else status.checkpoint


def _queue(before: FinetuneJobStatus, step: Step) -> QueueStatus | None:
    """What Kueue says now; of a job that has ended, where it was."""
    view = step.queue
    if view is None:
        ended = before.queue if step.terminal else None
        return ended.model_copy(update={"position": None, "message": None}) if ended is not None else None
    return QueueStatus(
        name=view.name,
        workload=clip(view.workload, NOTE) if view.workload is not None else None,
        position=view.position,
        message=clip(view.words, NOTE) or None,
    )


def _finished_at(before: FinetuneJobStatus, attempts: list[AttemptStatus], step: Step, now: datetime) -> str | None:
    if not step.terminal:
        return None
    # An invalid spec is judged anew at each look, and each would tell another time.
    return (attempts[-1].finished_at if attempts else None) or before.finished_at or clock.stamp(now)
