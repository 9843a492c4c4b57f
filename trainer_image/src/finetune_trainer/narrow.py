"""Whether bfloat16 is worth trying on this CPU: some multiply it more than twice as fast as float32, others far slower.

It is said and not done: a spec gives the same result on every node, whatever the CPU of the pod that it comes to.
"""

import time
from typing import Final

import torch

_SIZE: Final = 512
_TRIES: Final = 5
_WORTH_TELLING: Final = 1.5


def hint() -> str:
    """A word about bfloat16 on this CPU; empty where there is nothing to gain."""
    gain = _seconds(torch.float32) / _seconds(torch.bfloat16)
    if gain < _WORTH_TELLING:
        return ""
    return f"this CPU multiplies bfloat16 {gain:.1f} times as fast as float32: see training.precision"


def _seconds(dtype: torch.dtype) -> float:
    """The shortest time of several, of a product of square matrices."""
    left, right = (torch.ones(_SIZE, _SIZE, dtype=dtype) for _ in range(2))
    left @ right
    times = []
    for _ in range(_TRIES):
        began = time.perf_counter()
        left @ right
        times.append(time.perf_counter() - began)
    return min(times)
