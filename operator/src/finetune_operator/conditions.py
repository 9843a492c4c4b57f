"""Conditions: computed whole from a step; the transition time moves only when a condition's status does.

Complete, Failed, Suspended and Stalled are there only when they say something, as on Jobs; GatePassed once gates were
judged; Queued once Kueue had a say.
Reconciling is there from the first status on, or kstatus would take a new job for a finished one.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from finetune_api.conditions import ConditionType, Reason
from finetune_api.status import Condition, GateStatus, Phase
from finetune_operator import clock
from finetune_operator.failures import TEXT, clip
from finetune_operator.step import Step

Truth = Literal["True", "False", "Unknown"]

_WORDS: Final[Mapping[ConditionType, Phase]] = {
    ConditionType.COMPLETE: "Complete",
    ConditionType.FAILED: "Failed",
    ConditionType.SUSPENDED: "Suspended",
    ConditionType.RUNNING: "Running",
    ConditionType.QUEUED: "Queued",
    ConditionType.VALIDATED: "Starting",
}
"""The phase by the first of these that holds."""
_SETTLED: Final[frozenset[Phase]] = frozenset({"Complete", "Failed", "Suspended"})


@dataclass(frozen=True, slots=True)
class _Claim:
    type: ConditionType
    status: Truth
    reason: Reason
    message: str


def conditions(
    previous: Sequence[Condition],
    step: Step,
    *,
    validated: str | None,
    gates: Sequence[GateStatus] = (),
    generation: int,
    now: datetime,
) -> list[Condition]:
    """The conditions of a step; `validated` is what preflight found, None while it has not passed."""
    known = {condition.type: condition for condition in previous}
    was_suspended = ConditionType.SUSPENDED in known
    claims = [
        _validated(step, validated),
        *_queued(step, ConditionType.QUEUED in known),
        *_running(step, validated),
        *_gate_passed(gates),
        *_suspended(step, was_suspended),
        *_final(step),
        *_kstatus(step),
    ]
    return [_condition(claim, known.get(claim.type), generation, now) for claim in claims]


def find(items: Iterable[Condition], kind: ConditionType) -> Condition | None:
    """The condition of a type."""
    return next((condition for condition in items if condition.type == kind), None)


def is_true(items: Iterable[Condition], kind: ConditionType) -> bool:
    """Whether a condition is there and holds."""
    condition = find(items, kind)
    return condition is not None and condition.status == "True"


def phase(items: Sequence[Condition]) -> Phase:
    """The one word for people, which says nothing that the conditions don't."""
    word = next((word for kind, word in _WORDS.items() if is_true(items, kind)), None)
    if word is not None:
        return word
    moving = find(items, ConditionType.RECONCILING)
    is_moving = moving is not None and moving.status == "True" and moving.reason not in (Reason.PENDING, Reason.RERUN)
    return "Validating" if is_moving else "Pending"


def _validated(step: Step, validated: str | None) -> _Claim:
    if validated is not None:
        return _Claim(ConditionType.VALIDATED, "True", Reason.PREFLIGHT_PASSED, validated)
    status: Truth = "False" if step.phase == "Failed" else "Unknown"
    return _Claim(ConditionType.VALIDATED, status, step.reason, step.message)


def _queued(step: Step, was_queued: bool) -> list[_Claim]:
    if step.queue is not None:
        status: Truth = "True" if step.queue.waiting else "False"
        return [_Claim(ConditionType.QUEUED, status, step.queue.reason, step.queue.message)]
    if not was_queued:
        return []
    reason = Reason.FINISHED if step.terminal else step.reason
    return [_Claim(ConditionType.QUEUED, "False", reason, "No queue is waited in")]


def _running(step: Step, validated: str | None) -> list[_Claim]:
    if step.phase == "Running":
        return [_Claim(ConditionType.RUNNING, "True", Reason.TRAINER_RUNNING, step.message)]
    if validated is None:
        return []
    if step.terminal:
        return [_Claim(ConditionType.RUNNING, "False", Reason.FINISHED, "No trainer is needed any more")]
    return [_Claim(ConditionType.RUNNING, "False", step.reason, step.message)]


def _gate_passed(gates: Sequence[GateStatus]) -> list[_Claim]:
    if not gates:
        return []
    failed = [gate for gate in gates if not gate.passed]
    if not failed:
        return [_Claim(ConditionType.GATE_PASSED, "True", Reason.GATES_HOLD, "Every gate holds")]
    # The longest message that the schema takes holds about ten; `kubectl describe` shows all under evaluation.
    told = "; ".join(_missed(gate) for gate in failed)
    return [_Claim(ConditionType.GATE_PASSED, "False", Reason.GATES_FAILED, told)]


def _missed(gate: GateStatus) -> str:
    wanted = f", wanted {gate.wanted}" if gate.wanted else ""
    return f"{gate.metric}: got {gate.actual}{wanted}"


def _suspended(step: Step, was_suspended: bool) -> list[_Claim]:
    if step.phase == "Suspended":
        return [_Claim(ConditionType.SUSPENDED, "True", step.reason, step.message)]
    if was_suspended:
        return [_Claim(ConditionType.SUSPENDED, "False", Reason.RESUMED, "The job is not suspended")]
    return []


def _final(step: Step) -> list[_Claim]:
    kinds = {"Complete": ConditionType.COMPLETE, "Failed": ConditionType.FAILED}
    return [_Claim(kinds[step.phase], "True", step.reason, step.message)] if step.phase in kinds else []


def _kstatus(step: Step) -> list[_Claim]:
    """Reconciling while the operator can bring the job on, Stalled while only somebody else can."""
    if step.stalled or step.phase == "Failed":
        return [
            _Claim(ConditionType.RECONCILING, "False", step.reason, step.message),
            _Claim(ConditionType.STALLED, "True", step.reason, step.message),
        ]
    if step.phase in _SETTLED:
        return [_Claim(ConditionType.RECONCILING, "False", step.reason, step.message)]
    return [_Claim(ConditionType.RECONCILING, "True", step.reason, step.message)]


def _condition(claim: _Claim, previous: Condition | None, generation: int, now: datetime) -> Condition:
    unchanged = previous is not None and previous.status == claim.status
    return Condition(
        type=claim.type,
        status=claim.status,
        reason=claim.reason,
        message=clip(claim.message, TEXT),
        last_transition_time=previous.last_transition_time if previous and unchanged else clock.stamp(now),
        observed_generation=generation,
    )
