"""bfloat16 on a CPU is told of where it is faster by far, and never chosen."""

import pytest
import torch

from finetune_trainer import narrow
from finetune_trainer.model import resolve_dtype

SECONDS = {"as fast": (1.0, ""), "slower": (3.0, ""), "twice as fast": (0.5, "bfloat16 2.0 times as fast as float32")}


@pytest.mark.parametrize("case", SECONDS)
def test_it_is_told_of_where_it_is_faster_by_far(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    narrow_seconds, words = SECONDS[case]
    monkeypatch.setattr(narrow, "_seconds", lambda dtype: narrow_seconds if dtype == torch.bfloat16 else 1.0)
    assert (words in narrow.hint()) == bool(words) == bool(narrow.hint())


def test_this_cpu_is_measured() -> None:
    assert all(narrow._seconds(dtype) > 0 for dtype in (torch.float32, torch.bfloat16))


def test_the_same_spec_computes_alike_on_every_cpu() -> None:
    assert resolve_dtype("auto", torch.device("cpu")) == torch.float32
