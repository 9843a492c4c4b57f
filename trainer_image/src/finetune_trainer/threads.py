"""CPU threads, fixed by the spec: another number would change the order of sums, and a resumed run its bits."""

import math
import os
from typing import Final

_THREADS_VARIABLE: Final = "OMP_NUM_THREADS"


def limit_threads(cpu: str, processes: int = 1) -> None:
    """Make torch, in this process and its children, use a thread for each core of `spec.resources.cpu`.

    Several `processes` of a pod share them. Part of a core counts as one: a thread that is throttled at times does more
    than none. Call before torch is imported. Without it torch would take every core of the node, whatever the pod's
    limit.
    """
    cores = float(cpu.rstrip("mkMGTi")) / (1000 if cpu.endswith("m") else 1)
    os.environ[_THREADS_VARIABLE] = str(min(math.ceil(cores / processes), os.cpu_count() or 1))
