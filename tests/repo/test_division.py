"""Tests that run side by side share no cluster."""

import pytest
from division import LOCAL_CLUSTER, shared


def test_all_that_use_the_local_cluster_run_in_one_process(request: pytest.FixtureRequest) -> None:
    """Those in e2e install the operator there; others find it by its facts."""
    for item in request.session.items:
        if item.path.parent.name == "e2e" or "facts" in getattr(item, "fixturenames", ()):
            assert shared(item.nodeid) == LOCAL_CLUSTER, item.nodeid


def test_tests_of_a_file_stay_together_also_when_they_are_in_a_class_or_have_parameters() -> None:
    file = "tests/trainer/test_tune.py"
    assert {shared(f"{file}::{rest}") for rest in ("test_a", "TestB::test_c", "test_d[tests/e2e/x::y]")} == {file}
