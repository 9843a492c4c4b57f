"""Why a pod ended, in the terms of the exit codes' rule table.

Read in this order: did the cluster take the pod away; did its disk overflow; what the trainer itself reported; what the
kubelet knows; the exit code. The exit code comes last because a preempted trainer can end with any.
"""

import signal
from typing import Final

from finetune_api.conditions import Reason
from finetune_api.exit_codes import RULE_BY_CLASS, RULE_BY_CODE, ExitCode, FailureClass
from finetune_api.names import CONTAINER
from finetune_api.report import Failure, TrainerReport
from finetune_api.status import FailureStatus
from finetune_operator.children import ChildPod

TEXT: Final = 1024
WORD: Final = 128
NOTE: Final = 256

_OVERFLOW: Final = "exceed"
"""In what the kubelet says of a pod that it evicts for the pod's own disk; of a node short of disk it says "low"."""
_STOPPED: Final = frozenset({128 + signal.SIGTERM, 128 + signal.SIGKILL})
"""Exit codes of a container that was stopped before it could say why."""
_REASON_BY_CLASS: Final[dict[FailureClass, Reason]] = {
    "Settings": Reason.SETTINGS_INVALID,
    "Data": Reason.DATASET_INVALID,
    "Credentials": Reason.ACCESS_DENIED,
    "OutOfMemory": Reason.OUT_OF_MEMORY,
    "Diverged": Reason.DIVERGED,
    "Gates": Reason.GATES_FAILED,
    "Infrastructure": Reason.INTERNAL,
    "Preempted": Reason.PREEMPTED,
    "Cluster": Reason.INTERNAL,
    "Limits": Reason.INTERNAL,
}
"""For a trainer that ended with a code of the table but left no report."""


def failure_of(pod: ChildPod) -> FailureStatus:
    """Why a pod that ended without a result did so, and where."""
    where = {"container": clip(f"{pod.name}/{CONTAINER}", WORD), "node": clip(pod.node or "", WORD) or None}
    return _why(pod).model_copy(update=where)


def _why(pod: ChildPod) -> FailureStatus:
    if pod.disruption is not None:
        return _disrupted(pod)
    if pod.deleting and pod.exit_code in _STOPPED:
        return _disrupted(pod)
    if _OVERFLOW in pod.evicted:
        return _overflow(pod)
    report = pod.report
    if report is not None and report.failure is not None:
        return _reported(report, report.failure, pod.exit_code)
    if pod.ended_reason == "OOMKilled":
        return _out_of_memory(pod)
    return _by_exit_code(pod)


def failure(
    failure_class: FailureClass, reason: Reason, message: str, advice: str, exit_code: int | None = None
) -> FailureStatus:
    """A failure that the operator itself found."""
    return FailureStatus(
        failure_class=failure_class,
        reason=reason,
        message=clip(message, TEXT),
        advice=clip(advice, TEXT),
        retryable=RULE_BY_CLASS[failure_class].retryable,
        exit_code=exit_code,
    )


def clip(text: str, length: int) -> str:
    """At most `length` characters: the API server refuses a status with a longer one."""
    return text if len(text) <= length else text[: length - 3] + "..."


def _reported(report: TrainerReport, reported: Failure, exit_code: int | None) -> FailureStatus:
    about_data = report.data.report_uri if report.kind == "preflight" and report.data is not None else None
    return FailureStatus(
        failure_class=reported.failure_class,
        reason=reported.reason,
        message=clip(reported.message, TEXT),
        advice=clip(reported.advice, TEXT),
        retryable=reported.retryable,
        report_uri=about_data or report.page_uri or report.report_uri,
        exit_code=exit_code,
    )


def _disrupted(pod: ChildPod) -> FailureStatus:
    message = f"The cluster took the pod away ({pod.disruption or 'it was deleted'})"
    return failure("Preempted", Reason.DISRUPTED, message, "Nothing: the job goes on by itself.", pod.exit_code)


def _overflow(pod: ChildPod) -> FailureStatus:
    advice = (
        "The platform team can raise the operator's setting preflight_scratch (preflight.scratch in the chart)."
        if pod.kind == "preflight"
        else "Raise resources.scratch; base model, data and one checkpoint lie there at once."
    )
    message = f"The {_name(pod)} pod used more disk than its limit and was evicted: {pod.evicted}"
    return failure("Settings", Reason.SCRATCH_FULL, message, advice, pod.exit_code)


def _name(pod: ChildPod) -> str:
    return "preflight" if pod.kind == "preflight" else "training"


def _out_of_memory(pod: ChildPod) -> FailureStatus:
    message = f"The {_name(pod)} pod used more memory than its limit and was killed (OOMKilled)"
    advice = (
        "The platform team can raise the operator's setting preflight_memory (preflight.memory in the chart)."
        if pod.kind == "preflight"
        else "Raise resources.memory, or lower training.microBatchTokens or evaluation.batchSize."
    )
    return failure("OutOfMemory", Reason.OUT_OF_MEMORY, message, advice, pod.exit_code)


def _by_exit_code(pod: ChildPod) -> FailureStatus:
    advice = f"Look at its log: kubectl logs -n {pod.namespace} {pod.name}"
    if pod.exit_code == ExitCode.PREEMPTED:
        return failure("Preempted", Reason.PREEMPTED, "The trainer was asked to stop", advice, pod.exit_code)
    rule = RULE_BY_CODE.get(pod.exit_code or 0)
    failure_class: FailureClass = rule.failure_class if rule is not None else "Infrastructure"
    ended = _ended_with(pod.exit_code)
    reason = f", {pod.ended_reason}" if pod.ended_reason else ""
    message = f"The container ended without a report ({ended}{reason}): {pod.ended_message or 'no message'}"
    return failure(failure_class, _REASON_BY_CLASS[failure_class], message, advice, pod.exit_code)


def _ended_with(code: int | None) -> str:
    """`exit code 139, SIGSEGV`: a shell's way to tell of a signal is what Kubernetes shows."""
    if code is None:
        return "no exit code"
    name = next((each.name for each in signal.Signals if code == 128 + each), "")
    return f"exit code {code}" + (f", {name}" if name else "")
