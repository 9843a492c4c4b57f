"""Gates: does the result reach what `spec.evaluation.gates` asks for. Pure, and without torch, for preflight."""

import operator
from collections.abc import Callable, Sequence
from typing import Final

from finetune_api.conditions import Reason
from finetune_api.report import EvaluationResult, GateResult, MetricResult
from finetune_api.spec.evaluation import WITH_PERPLEXITY, Evaluation, Gate
from finetune_api.spec.job import FinetuneJobSpec
from finetune_trainer.errors import GatesFailedError, InfrastructureError, SettingsError
from finetune_trainer.evaluate.names import metric_names

_HOLDS: Final[dict[str, Callable[[float, float], bool]]] = {
    ">=": operator.ge,
    ">": operator.gt,
    "<=": operator.le,
    "<": operator.lt,
}
_AT_LEAST: Final = (">=", ">")
"""The less favourable end of an interval is its lower one."""
_PLACES: Final = 9
"""Results are compared to so many decimal places: 0.85 - 0.80 is a little less than 0.05 in binary."""


def check_gates(spec: FinetuneJobSpec) -> None:
    """Refuse a gate on something that the job does not measure.

    Raises:
        SettingsError: naming the gate and what there is.

    """
    there = _measured(spec)
    for index, gate in enumerate(spec.evaluation.gates):
        if gate.metric not in there:
            raise SettingsError(
                reason=Reason.SETTINGS_INVALID,
                message=f"spec.evaluation.gates[{index}].metric: this job does not measure {gate.metric}",
                advice=f"Choose from {', '.join(there)}, or add it to evaluation.metrics or evaluation.benchmarks.",
            )


def judge(gates: Sequence[Gate], evaluation: EvaluationResult) -> list[GateResult]:
    """Whether each gate holds; a result that is not a number passes none.

    Raises:
        InfrastructureError: Internal; the evaluation lacks what a gate is about.

    """
    results = {result.name: result for result in (*evaluation.benchmarks, *evaluation.metrics)}
    return [_judge(gate, results.get(gate.metric)) for gate in gates]


def may_promote(evaluation: Evaluation, gates: Sequence[GateResult]) -> bool:
    """Whether the artifact may become the one that is served."""
    return evaluation.on_gate_failure == "promote" or all(gate.passed for gate in gates)


def refuse_failed(evaluation: Evaluation, gates: Sequence[GateResult]) -> None:
    """End the job where the spec wants a failed gate to be a failure.

    Raises:
        GatesFailedError: naming every gate that does not hold.

    """
    failed = [f"{gate.metric}: wanted {gate.wanted}, got {gate.actual:.4g}" for gate in gates if not gate.passed]
    if failed and evaluation.on_gate_failure == "fail":
        raise GatesFailedError(
            reason=Reason.GATES_FAILED,
            message=f"{len(failed)} of {len(gates)} gates do not hold: {'; '.join(failed)}",
            advice="The artifact and its evaluation are kept: see where they fall short in examples.jsonl beside "
            "the report, then improve data or settings in a FinetuneJob with another name and output",
        )


def _measured(spec: FinetuneJobSpec) -> tuple[str, ...]:
    """Names of everything that the job measures."""
    perplexity = ("perplexity",) if spec.objective.type in WITH_PERPLEXITY else ()
    tasks = (benchmark.task for benchmark in spec.evaluation.benchmarks)
    return (*metric_names(spec), "loss", *perplexity, *tasks)


def _judge(gate: Gate, result: MetricResult | None) -> GateResult:
    actual = _actual(gate, result) if result is not None else None
    if actual is None:
        raise InfrastructureError(
            reason=Reason.INTERNAL,
            message=f"the gate on {gate.metric} cannot be judged: the evaluation has no {_what(gate)} of it",
            advice="Use a trainer image of the same version as the operator; if it is, report this.",
        )
    passed = _HOLDS[gate.op](round(actual, _PLACES), round(gate.value, _PLACES))
    return GateResult(metric=gate.metric, wanted=_wanted(gate), actual=actual, passed=passed)


def _actual(gate: Gate, result: MetricResult) -> float | None:
    """What is compared: a point, or the end of the 95 % interval that speaks against the gate."""
    if gate.use == "point":
        return result.delta if gate.relative_to == "baseline" else result.tuned
    low = gate.op in _AT_LEAST
    if gate.relative_to == "baseline":
        return result.low if low else result.high
    return result.tuned_low if low else result.tuned_high


def _wanted(gate: Gate) -> str:
    left = "tuned - baseline" if gate.relative_to == "baseline" else "tuned"
    end = "lower" if gate.op in _AT_LEAST else "upper"
    where = f" at the {end} end of the interval" if gate.use == "bound" else ""
    return f"{left} {gate.op} {gate.value:.9g}{where}"


def _what(gate: Gate) -> str:
    return "interval" if gate.use == "bound" else "score"
