"""A status that fits: ten thousand jobs are kept by etcd, by the operator and by everyone who watches them.

A trainer's reports are bounded by the kubelet, texts by the schema, but all at their longest would come to more than
10 KB. What is said twice is shortened first. What was learnt once and cannot be learnt again goes next, the least
important first: it is all in the reports that status points to.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import reduce
from typing import Any, Final

from finetune_api.status import FinetuneJobStatus
from finetune_api.text import ellipsis

LIMIT: Final = 10_000
"""Bytes of JSON."""

Shrink = Callable[[FinetuneJobStatus], FinetuneJobStatus]


def fitted(status: FinetuneJobStatus) -> FinetuneJobStatus:
    """The status, shortened as far as needed to stay within the limit.

    Fitting what was fitted before changes nothing, though conditions and failure come back whole in between: how much
    is dropped for good depends only on what is left when those are at their shortest.
    """
    kept = next((s for s in _steps(status, _LEARNT) if _fits(reduce(_apply, _REPEATED, s))), None)
    shortest = kept if kept is not None else reduce(_apply, _LEARNT, status)
    return next((s for s in _steps(shortest, _REPEATED) if _fits(s)), reduce(_apply, _REPEATED, shortest))


def _steps(status: FinetuneJobStatus, shrinks: Sequence[Shrink]) -> Iterator[FinetuneJobStatus]:
    yield status
    for shrink in shrinks:
        status = shrink(status)
        yield status


def _apply(status: FinetuneJobStatus, shrink: Shrink) -> FinetuneJobStatus:
    return shrink(status)


def _fits(status: FinetuneJobStatus) -> bool:
    return len(status.model_dump_json(exclude_none=True).encode()) <= LIMIT


def _conditions(length: int) -> Shrink:
    """The message stands in status and failure too."""

    def shrink(status: FinetuneJobStatus) -> FinetuneJobStatus:
        shorter = [each.model_copy(update={"message": ellipsis(each.message, length)}) for each in status.conditions]
        return status.model_copy(update={"conditions": shorter})

    return shrink


def _texts(length: int) -> Shrink:
    def shrink(status: FinetuneJobStatus) -> FinetuneJobStatus:
        changes: dict[str, Any] = {"message": ellipsis(status.message, length)}
        if (why := status.failure) is not None:
            texts = {"message": ellipsis(why.message, length), "advice": ellipsis(why.advice, length)}
            changes["failure"] = why.model_copy(update=texts)
        return status.model_copy(update=changes)

    return shrink


def _no_queue_words(status: FinetuneJobStatus) -> FinetuneJobStatus:
    """They stand in the condition too."""
    if status.queue is None:
        return status
    return status.model_copy(update={"queue": status.queue.model_copy(update={"message": None})})


def _no_reasons(status: FinetuneJobStatus) -> FinetuneJobStatus:
    plain = [each.model_copy(update={"why": ""}) for each in status.settings]
    return status.model_copy(update={"settings": plain})


def _unsaid(*passed: bool) -> Shrink:
    """Without what gates asked for; the spec says it too."""

    def shrink(status: FinetuneJobStatus) -> FinetuneJobStatus:
        if status.evaluation is None:
            return status
        gates = [g.model_copy(update={"wanted": ""}) if g.passed in passed else g for g in status.evaluation.gates]
        return status.model_copy(update={"evaluation": status.evaluation.model_copy(update={"gates": gates})})

    return shrink


def _failed_gates_first(count: int) -> Shrink:
    """Which gates failed stands in the condition too, as far as its message reaches."""

    def shrink(status: FinetuneJobStatus) -> FinetuneJobStatus:
        if status.evaluation is None or len(status.evaluation.gates) <= count:
            return status
        gates = sorted(status.evaluation.gates, key=lambda gate: gate.passed)[:count]
        return status.model_copy(update={"evaluation": status.evaluation.model_copy(update={"gates": gates})})

    return shrink


def _evaluation(**parts: int) -> Shrink:
    def shrink(status: FinetuneJobStatus) -> FinetuneJobStatus:
        if status.evaluation is None:
            return status
        shorter = {name: getattr(status.evaluation, name)[:count] for name, count in parts.items()}
        return status.model_copy(update={"evaluation": status.evaluation.model_copy(update=shorter)})

    return shrink


_REPEATED: Final[tuple[Shrink, ...]] = (
    _conditions(500),
    _no_queue_words,
    _conditions(200),
    _texts(500),
    _conditions(100),
    _texts(250),
    _conditions(50),
)
_LEARNT: Final[tuple[Shrink, ...]] = (
    _no_reasons,
    _unsaid(True),
    _evaluation(slices=0),
    _evaluation(metrics=4),
    lambda status: status.model_copy(update={"settings": []}),
    _evaluation(benchmarks=0),
    _evaluation(metrics=1),
    _unsaid(True, False),
    _failed_gates_first(8),
)
