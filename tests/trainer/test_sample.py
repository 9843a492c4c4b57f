"""The rows kept aside are those with the smallest marks, in whatever order rows come and however many are asked of."""

import random

import pytest

from finetune_trainer.data.sample import Sample, order_mark

MARKS = [order_mark(bytes([number])) for number in range(200)]


def kept(tmp_path, marks, size, *, ask: bool) -> list[bytes]:
    sample = Sample(tmp_path / "scratch", size)
    for number, mark in enumerate(marks):
        if not ask or sample.wants(mark):
            sample.offer(mark, number, mark.hex().encode)
    sample.write(tmp_path / "kept")
    return sorted(bytes.fromhex(line) for line in (tmp_path / "kept").read_text().split())


@pytest.mark.parametrize("size", [0, 1, 7, 200, 500])
@pytest.mark.parametrize("seed", range(5))
def test_the_rows_with_the_smallest_marks_are_kept_and_asking_first_changes_none(tmp_path, size, seed):
    marks = random.Random(seed).sample(MARKS, len(MARKS))
    assert kept(tmp_path, marks, size, ask=True) == kept(tmp_path, marks, size, ask=False) == sorted(MARKS)[:size]


def test_most_rows_of_a_long_stream_are_not_wanted(tmp_path):
    sample = Sample(tmp_path / "scratch", 5)
    wanted = 0
    for number, mark in enumerate(MARKS):
        if sample.wants(mark):
            wanted += 1
            sample.offer(mark, number, lambda: b"row")
    assert wanted < len(MARKS) / 4
