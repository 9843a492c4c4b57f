"""Progress lines survive a noisy log."""

from hypothesis import given
from hypothesis import strategies as st

from finetune_api.progress import PREFIX, Progress, encode, last_progress

FIRST = Progress(stage="training", step=1, total_steps=10, loss=2.5)
SECOND = Progress(stage="training", step=2, total_steps=10, loss=2.25, tokens_per_second=150.0, eta_seconds=80)


def test_the_newest_line_wins() -> None:
    assert last_progress(f"{encode(FIRST)}\nsome log\n{encode(SECOND)}\nmore log\n") == SECOND


def test_a_line_cut_by_the_log_limit_is_skipped() -> None:
    assert last_progress(f"{encode(FIRST)}\n{encode(SECOND)[:-9]}") == FIRST


def test_fields_of_a_newer_trainer_are_ignored() -> None:
    assert last_progress(PREFIX + '{"stage": "training", "step": 3, "mood": "good"}') == Progress(
        stage="training", step=3
    )


@given(st.text())
def test_no_log_crashes_the_reader(log: str) -> None:
    last_progress(PREFIX + log)
