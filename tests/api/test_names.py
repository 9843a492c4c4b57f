"""Child names fit what Kubernetes allows and never collide by being cut."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune_api.names import child_name, label_value

JOB_NAMES = st.from_regex(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?", fullmatch=True).filter(
    lambda name: all(re.fullmatch(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", part) for part in name.split("."))
)


@given(JOB_NAMES)
def test_the_name_of_a_childs_first_pod_is_a_dns_label(name: str) -> None:
    assert re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", child_name(name, "preflight") + "-0")
    assert re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?", label_value(name))


@pytest.mark.parametrize(("left", "right"), [("a" * 200 + "b", "a" * 200 + "c"), ("a.b", "a-b")])
def test_names_that_look_alike_when_cut_stay_apart(left: str, right: str) -> None:
    assert child_name(left, "train") != child_name(right, "train")
    assert label_value(left) != label_value(right)


def test_a_short_name_stays_readable() -> None:
    assert child_name("tickets", "train") == "tickets-train"
