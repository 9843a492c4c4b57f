"""The verdict: what somebody who reads one sentence of the page should know."""

from dataclasses import dataclass
from typing import Final, Literal

from finetune_api.report import EvaluationResult, MetricResult, RivalResult, TrainerReport, Verdict, verdict
from finetune_api.text import ellipsis
from finetune_trainer.result_report.wording import RIVAL_TITLES, metric_title, rows, score

Tone = Literal["good", "unsure", "bad"]

_MESSAGE_BYTES: Final = 4000
_OPENINGS: Final[dict[Verdict, tuple[Tone, str]]] = {
    "better": ("good", "Better than the base"),
    "inconclusive": ("unsure", "Not proven better than the base"),
    "worse": ("bad", "Worse than the base"),
}
_AGAINST_RIVAL: Final[dict[Verdict, str]] = {
    "better": "the tuned model is better than that too",
    "inconclusive": "the tuned model is not proven better than that",
    "worse": "the tuned model is worse than that",
}


@dataclass(frozen=True, slots=True)
class Judgement:
    """What stands in the box at the top."""

    tone: Tone
    headline: str
    lines: list[str]


def judge(report: TrainerReport) -> Judgement:
    """The run in a headline and a few sentences."""
    if report.failure is not None:
        message = ellipsis(report.failure.message, _MESSAGE_BYTES)
        return Judgement("bad", f"Failed: {report.failure.reason}", [message, f"What to do: {report.failure.advice}"])
    if report.evaluation is None or not report.evaluation.metrics:
        return Judgement("unsure", "Not compared with the base", [])
    evaluation, artifact = report.evaluation, report.artifact
    tone, headline = _OPENINGS[evaluation.metrics[0].verdict]
    lines = [_compared(evaluation), *_rivals(evaluation.metrics[0]), *_benchmarks(evaluation)]
    if failed := [gate for gate in evaluation.gates if not gate.passed]:
        joint = "and" if tone == "bad" else "but"
        gates = "a gate" if len(failed) == 1 else f"{len(failed)} gates"
        tone, headline = "bad", f"{headline}, {joint} {gates} did not hold"
    if evaluation.gates:
        lines.append(_gates(evaluation, promoted=artifact is not None and artifact.promoted_uri is not None))
    return Judgement(tone, headline, lines)


def difference(metric: MetricResult) -> str:
    """`+0.900, 95 % interval +0.730 to +0.960`."""
    low, high = score(metric.low, signed=True), score(metric.high, signed=True)
    return f"{score(metric.delta, signed=True)}, 95 % interval {low} to {high}"


def _compared(evaluation: EvaluationResult) -> str:
    metric = evaluation.metrics[0]
    return (
        f"{metric_title(metric.name)} is {score(metric.tuned)} where the base has {score(metric.baseline)}, "
        f"on {rows(evaluation.rows)} never trained on ({difference(metric)})."
    )


def _rivals(metric: MetricResult) -> list[str]:
    def told(rival: RivalResult) -> str:
        outcome = verdict(rival.low, rival.high, higher_is_better=metric.higher_is_better)
        return f"The {RIVAL_TITLES[rival.name]} has {score(rival.score)}: {_AGAINST_RIVAL[outcome]}."

    return [told(rival) for rival in metric.rivals]


def _benchmarks(evaluation: EvaluationResult) -> list[str]:
    """Public tasks that the tuned model has become worse at."""
    lost = [task for task in evaluation.benchmarks if task.verdict == "worse"]
    return [f"Forgotten: {task.name} went from {score(task.baseline)} to {score(task.tuned)}." for task in lost]


def _gates(evaluation: EvaluationResult, *, promoted: bool) -> str:
    held = sum(gate.passed for gate in evaluation.gates)
    outcome = "it is promoted" if promoted else "it is not promoted"
    return f"{held} of {len(evaluation.gates)} gates held; {outcome}."
