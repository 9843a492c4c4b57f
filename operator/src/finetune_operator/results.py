"""Parts of status that come from the trainer's words: its report and its progress lines."""

from typing import Final

from finetune_api.progress import Progress
from finetune_api.report import (
    Artifact,
    DataSummary,
    Estimate,
    EvaluationResult,
    GateResult,
    MetricResult,
    PreparedData,
    ResolvedSetting,
    SavedCheckpoint,
    Servable,
    SliceResult,
    TrainingSummary,
    verdict,
)
from finetune_api.status import (
    ArtifactStatus,
    CheckpointStatus,
    DataStatus,
    EstimateStatus,
    EvaluationStatus,
    GateStatus,
    MetricStatus,
    ProgressStatus,
    RivalStatus,
    SettingStatus,
    SliceStatus,
)
from finetune_operator import clock, quantity
from finetune_operator.failures import NOTE, WORD, clip

KEPT: Final = 16
"""Metrics, slices and settings: as many as the schema allows."""
RIVALS_KEPT: Final = 3
BENCHMARKS_KEPT: Final = 8
VALIDATING: Final = "validating"
PLAIN: Final = 1e15
"""Larger numbers are written with an exponent; the perplexity of a lost model has hundreds of digits."""


def progress_status(progress: Progress) -> ProgressStatus:
    """A progress line as people read it."""
    validating = progress.stage == VALIDATING
    done, total = (progress.bytes, progress.total_bytes) if validating else (progress.step, progress.total_steps)
    return ProgressStatus(
        stage=progress.stage,
        step=progress.step,
        total_steps=progress.total_steps,
        percent=f"{100 * done // total}%" if total else "0%",
        rows=progress.rows if validating else None,
        loss=_decimal(progress.loss) if progress.loss is not None else None,
        tokens_per_second=f"{progress.tokens_per_second:.0f}" if progress.tokens_per_second is not None else None,
        **_speed(progress),
        eta=clock.duration(progress.eta_seconds) if progress.eta_seconds is not None else None,
    )


def _speed(told: Progress | TrainingSummary) -> dict[str, str | None]:
    """How well the hardware is used."""
    supervised, peak = told.supervised_tokens_per_second, told.peak_memory_bytes
    return {
        "supervised_tokens_per_second": f"{supervised:.0f}" if supervised is not None else None,
        "mfu": f"{told.mfu:.3f}" if told.mfu is not None else None,
        "input_stall": f"{told.input_stall:.3f}" if told.input_stall is not None else None,
        "peak_memory": quantity.readable(peak) if peak is not None else None,
        "execution": clip(told.execution, WORD) or None,
    }


def finished_progress(training: TrainingSummary | None, last: ProgressStatus | None) -> ProgressStatus | None:
    """The last word on progress once the adapter is there."""
    if training is None:
        return last.model_copy(update={"stage": "done", "percent": "100%", "eta": None}) if last else None
    return ProgressStatus(
        stage="done",
        step=training.steps,
        # A run that stopped early has done fewer than it planned, and is done.
        total_steps=max(training.steps, last.total_steps if last and training.stopped_early else 0),
        percent="100%",
        loss=_decimal(training.final_loss),
        tokens_per_second=f"{training.tokens_per_second:.0f}",
        **_speed(training),
    )


def halted_progress(last: ProgressStatus | None) -> ProgressStatus | None:
    """Where the trainer was; what holds only of one at work is left out."""
    gone = ("tokens_per_second", "supervised_tokens_per_second", "mfu", "input_stall", "eta")
    return last.model_copy(update=dict.fromkeys(gone)) if last is not None else None


def checkpoint_status(checkpoint: SavedCheckpoint) -> CheckpointStatus:
    """The newest saved state."""
    return CheckpointStatus(
        step=checkpoint.step, uri=checkpoint.uri, saved_at=checkpoint.saved_at, size_bytes=checkpoint.size_bytes
    )


def data_status(data: DataSummary, prepared: PreparedData | None) -> DataStatus:
    """What preflight found and made ready."""
    return DataStatus(
        digest=data.digest,
        train_rows=data.train_rows,
        validation_rows=data.validation_rows,
        test_rows=data.test_rows,
        train_tokens=data.train_tokens,
        supervised_tokens=data.supervised_tokens,
        truncated_rows=data.truncated_rows,
        left_out_rows=data.left_out_rows,
        bad_rows=data.bad_rows,
        duplicate_rows=data.duplicate_rows,
        report_uri=data.report_uri,
        prepared_uri=prepared.uri if prepared is not None else None,
        prepared_digest=prepared.digest if prepared is not None else None,
    )


def settings_status(settings: list[ResolvedSetting]) -> list[SettingStatus]:
    """Settings that the spec left open."""
    return [
        SettingStatus(name=clip(each.name, WORD), value=clip(each.value, WORD), why=clip(each.why, NOTE))
        for each in settings[:KEPT]
    ]


def estimate_status(estimate: Estimate) -> EstimateStatus:
    """What training will take."""
    available = estimate.available_bytes
    return EstimateStatus(
        memory=quantity.readable(estimate.memory_bytes),
        available=quantity.readable(available) if available is not None else None,
        steps=estimate.steps,
        tokens=estimate.tokens,
        checkpoint_bytes=estimate.checkpoint_bytes,
    )


def artifact_status(artifact: Artifact) -> ArtifactStatus:
    """The adapter or model."""
    return ArtifactStatus(
        kind=artifact.kind,
        uri=artifact.uri,
        digest=artifact.digest,
        size_bytes=artifact.size_bytes,
        verified=artifact.verified,
        merged_uri=artifact.merged.uri if artifact.merged is not None else None,
        servable=_servable(artifact.servable) if artifact.servable is not None else None,
        promoted_uri=artifact.promoted_uri,
    )


def _servable(servable: Servable) -> str:
    return clip(f"vLLM: {'yes' if servable.vllm else 'no'}; {servable.why}", NOTE)


def evaluation_status(evaluation: EvaluationResult) -> EvaluationStatus:
    """Base against tuned, the headline as a summary that fits a column."""
    headline = evaluation.metrics[0] if evaluation.metrics else None
    summary = (
        f"{headline.name} {_decimal(headline.baseline, places=2)} -> {_decimal(headline.tuned, places=2)}"
        if headline is not None
        else ""
    )
    return EvaluationStatus(
        summary=clip(summary, WORD),
        rows=evaluation.rows,
        metrics=[_metric_status(metric) for metric in evaluation.metrics[:KEPT]],
        slices=[_slice_status(each) for each in evaluation.slices[:KEPT]],
        gates=[_gate_status(gate) for gate in evaluation.gates[:KEPT]],
        benchmarks=[_metric_status(each) for each in evaluation.benchmarks[:BENCHMARKS_KEPT]],
    )


def _metric_status(metric: MetricResult) -> MetricStatus:
    return MetricStatus(
        name=clip(metric.name, WORD),
        baseline=_decimal(metric.baseline),
        rivals=[
            RivalStatus(
                name=rival.name,
                score=_decimal(rival.score),
                verdict=verdict(rival.low, rival.high, higher_is_better=metric.higher_is_better),
            )
            for rival in metric.rivals[:RIVALS_KEPT]
        ],
        tuned=_decimal(metric.tuned),
        delta=_decimal(metric.delta, sign="+"),
        low=_decimal(metric.low, sign="+"),
        high=_decimal(metric.high, sign="+"),
        verdict=metric.verdict,
    )


def _slice_status(part: SliceResult) -> SliceStatus:
    return SliceStatus(
        name=clip(part.name, WORD),
        rows=part.rows,
        baseline=_decimal(part.baseline),
        tuned=_decimal(part.tuned),
    )


def _gate_status(gate: GateResult) -> GateStatus:
    return GateStatus(
        metric=clip(gate.metric, WORD),
        wanted=clip(gate.wanted, WORD),
        actual=_decimal(gate.actual),
        passed=gate.passed,
    )


def _decimal(value: float, *, places: int = 4, sign: str = "") -> str:
    """A fraction that fits the schema whatever its size."""
    return format(value, f"{sign}.{places}f" if abs(value) < PLAIN else f"{sign}.{places}g")
