"""Threads follow the spec, whatever the node has to offer."""

import os

import pytest

from finetune_trainer.threads import limit_threads


@pytest.mark.parametrize(("cpu", "threads"), [("4", 4), ("500m", 1), ("1800m", 2), ("2.5", 3), ("64", 8)])
def test_torch_gets_a_thread_for_each_core_begun(cpu: str, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setenv("OMP_NUM_THREADS", "99")
    limit_threads(cpu)
    assert os.environ["OMP_NUM_THREADS"] == os.environ["TORCHINDUCTOR_COMPILE_THREADS"] == str(threads)
