"""CPU threads, fixed by the spec: another number would change the order of sums, and a resumed run its bits."""

import math
import os
from typing import Final

_VARIABLES: Final = ("OMP_NUM_THREADS", "TORCHINDUCTOR_COMPILE_THREADS")
"""Of torch's arithmetic, and of the processes that its compiler would start for each core of the node."""


def limit_threads(cpu: str, processes: int = 1) -> None:
    """Make torch, in this process and its children, use a thread for each core of `spec.resources.cpu`.

    Several `processes` of a pod share them. Part of a core counts as one: a thread that is throttled at times does more
    than none. Call before torch is imported. Without it torch would take every core of the node, whatever the pod's
    limit.
    """
    cores = float(cpu.rstrip("mkMGTi")) / (1000 if cpu.endswith("m") else 1)
    threads = str(min(math.ceil(cores / processes), os.cpu_count() or 1))
    os.environ.update(dict.fromkeys(_VARIABLES, threads))
