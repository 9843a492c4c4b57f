"""The patch between two statuses: applied by the rules of a merge patch it gives the second, and it holds no more."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from finetune_api.status import Condition, FinetuneJobStatus, ProgressStatus
from finetune_operator.status import status_patch

WORDS = st.sampled_from(["a", "b", "c"])
PROGRESS = st.builds(
    ProgressStatus,
    stage=WORDS,
    step=st.integers(0, 3),
    total_steps=st.just(3),
    percent=WORDS,
    loss=st.none() | WORDS,
    eta=st.none() | WORDS,
)
CONDITION = st.builds(
    Condition,
    type=WORDS,
    status=st.sampled_from(["True", "False"]),
    reason=WORDS,
    message=WORDS,
    last_transition_time=st.just("2026-01-31T12:00:00Z"),
    observed_generation=st.just(1),
)
STATUS = st.builds(
    FinetuneJobStatus,
    message=WORDS,
    conditions=st.lists(CONDITION, max_size=2),
    image=st.none() | WORDS,
    progress=st.none() | PROGRESS,
    lost_reports=st.integers(0, 2),
)


def merged(target: Any, patch: Any) -> Any:
    """RFC 7396."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value)
    return result


@given(before=STATUS, after=STATUS)
def test_the_patch_leads_from_one_status_to_the_other(before: FinetuneJobStatus, after: FinetuneJobStatus) -> None:
    stored = before.model_dump(mode="json", exclude_none=True)
    assert merged(stored, status_patch(before, after)) == after.model_dump(mode="json", exclude_none=True)


@given(before=STATUS, after=STATUS)
def test_the_patch_is_empty_only_if_nothing_differs(before: FinetuneJobStatus, after: FinetuneJobStatus) -> None:
    assert (not status_patch(before, after)) == (before == after)


def test_fields_of_a_newer_operator_are_left_alone() -> None:
    before = FinetuneJobStatus.model_validate({"message": "a", "madeByANewerOperator": 1})
    assert status_patch(before, before.model_copy(update={"message": "b"})) == {"message": "b"}
