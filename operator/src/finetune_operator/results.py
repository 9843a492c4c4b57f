"""Parts of status that come from the trainer's words: its report and its progress lines."""

from typing import Final

from finetune_api.progress import Progress
from finetune_api.report import (
    Artifact,
    DataSummary,
    EvaluationResult,
    MetricResult,
    SavedCheckpoint,
    TrainingSummary,
    verdict,
)
from finetune_api.status import (
    ArtifactStatus,
    CheckpointStatus,
    DataStatus,
    EvaluationStatus,
    MetricStatus,
    ProgressStatus,
    RivalStatus,
)
from finetune_operator import clock
from finetune_operator.failures import WORD, clip

METRICS_KEPT: Final = 16


def progress_status(progress: Progress) -> ProgressStatus:
    """A progress line as people read it."""
    share = progress.step / progress.total_steps if progress.total_steps else 0.0
    return ProgressStatus(
        stage=progress.stage,
        step=progress.step,
        total_steps=progress.total_steps,
        percent=f"{int(100 * share)}%",
        loss=f"{progress.loss:.4f}" if progress.loss is not None else None,
        tokens_per_second=f"{progress.tokens_per_second:.0f}" if progress.tokens_per_second is not None else None,
        eta=clock.duration(progress.eta_seconds) if progress.eta_seconds is not None else None,
    )


def finished_progress(training: TrainingSummary | None, last: ProgressStatus | None) -> ProgressStatus | None:
    """The last word on progress once the adapter is there."""
    if training is None:
        return last.model_copy(update={"stage": "done", "percent": "100%", "eta": None}) if last else None
    return ProgressStatus(
        stage="done",
        step=training.steps,
        total_steps=training.steps,
        percent="100%",
        loss=f"{training.final_loss:.4f}",
        tokens_per_second=f"{training.tokens_per_second:.0f}",
    )


def halted_progress(last: ProgressStatus | None) -> ProgressStatus | None:
    """Where the trainer was; what holds only of one at work is left out."""
    return last.model_copy(update={"tokens_per_second": None, "eta": None}) if last is not None else None


def checkpoint_status(checkpoint: SavedCheckpoint) -> CheckpointStatus:
    """The newest saved state."""
    return CheckpointStatus(step=checkpoint.step, uri=checkpoint.uri, saved_at=checkpoint.saved_at)


def data_status(data: DataSummary) -> DataStatus:
    """What preflight found."""
    return DataStatus(
        digest=data.digest,
        train_rows=data.train_rows,
        validation_rows=data.validation_rows,
        test_rows=data.test_rows,
        train_tokens=data.train_tokens,
        supervised_tokens=data.supervised_tokens,
        truncated_rows=data.truncated_rows,
        left_out_rows=data.left_out_rows,
    )


def artifact_status(artifact: Artifact) -> ArtifactStatus:
    """The adapter."""
    return ArtifactStatus(
        uri=artifact.uri, digest=artifact.digest, size_bytes=artifact.size_bytes, verified=artifact.verified
    )


def evaluation_status(evaluation: EvaluationResult) -> EvaluationStatus:
    """Base against tuned, the headline as a summary that fits a column."""
    headline = evaluation.metrics[0] if evaluation.metrics else None
    summary = f"{headline.name} {headline.baseline:.2f} -> {headline.tuned:.2f}" if headline is not None else ""
    metrics = [_metric_status(metric) for metric in evaluation.metrics[:METRICS_KEPT]]
    return EvaluationStatus(summary=clip(summary, WORD), rows=evaluation.rows, metrics=metrics)


def _metric_status(metric: MetricResult) -> MetricStatus:
    return MetricStatus(
        name=metric.name,
        baseline=f"{metric.baseline:.4f}",
        rivals=[
            RivalStatus(
                name=rival.name,
                score=f"{rival.score:.4f}",
                verdict=verdict(rival.low, rival.high, higher_is_better=metric.higher_is_better),
            )
            for rival in metric.rivals
        ],
        tuned=f"{metric.tuned:.4f}",
        delta=f"{metric.delta:+.4f}",
        low=f"{metric.low:+.4f}",
        high=f"{metric.high:+.4f}",
        verdict=metric.verdict,
    )
