"""Amounts of memory, to bytes and back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune_operator import quantity


@pytest.mark.parametrize(
    ("text", "count"),
    [("0", 0), ("80Gi", 80 * 2**30), ("1.5Gi", 3 * 2**29), ("24G", 24 * 10**9), ("512Mi", 2**29), ("7", 7)],
)
def test_a_quantity_is_so_many_bytes(text: str, count: int) -> None:
    assert quantity.parse(text) == count


@pytest.mark.parametrize("text", ["", "80GB", "80 Gi", "-1Gi", "1e3", "Gi", "1.Gi", "80Gi\n"])
def test_what_is_no_quantity_is_refused_and_shown(text: str) -> None:
    with pytest.raises(ValueError, match="is no amount of memory"):
        quantity.parse(text)


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0"), (1023, "1023"), (5 * 2**30, "5Gi"), (5_600_000_000, "5.2Gi"), (2**20, "1Mi")]
)
def test_bytes_read_well(count: int, text: str) -> None:
    assert quantity.readable(count) == text


@given(st.integers(0, 2**50))
def test_what_is_shown_is_a_quantity_within_a_twentieth(count: int) -> None:
    assert abs(quantity.parse(quantity.readable(count)) - count) <= count / 20
