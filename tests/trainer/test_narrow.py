"""bfloat16 on a CPU is told of where it is faster by far, and never chosen."""

import pytest
import torch

from finetune_trainer import narrow
from finetune_trainer.model import resolve_dtype


@pytest.mark.parametrize(("seconds", "gain"), [(1.0, None), (3.0, None), (0.7, None), (0.5, "2.0 times as fast")])
def test_it_is_told_of_where_it_is_faster_by_far(
    seconds: float, gain: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(narrow, "_seconds", lambda dtype: seconds if dtype == torch.bfloat16 else 1.0)
    assert gain in narrow.hint() if gain else not narrow.hint()


def test_this_cpu_is_measured() -> None:
    assert all(narrow._seconds(dtype) > 0 for dtype in (torch.float32, torch.bfloat16))


def test_the_same_spec_computes_alike_on_every_cpu() -> None:
    assert resolve_dtype("auto", torch.device("cpu")) == torch.float32
