"""What a step leaves in the metrics about the GPU; the device is not waited for."""

import resource

import torch


def gpu_use() -> dict[str, float | None]:
    """Utilisation in per cent where NVML answers, and the most bytes allocated so far; empty on a CPU."""
    if not torch.cuda.is_available():
        return {}
    return {"gpu_utilization": _utilization(), "gpu_memory_bytes": torch.cuda.max_memory_allocated()}


def peak_memory() -> int:
    """The most bytes that tensors took on this process's GPU so far; without a GPU, that the process took."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _utilization() -> float | None:
    try:
        return float(torch.cuda.utilization())
    except Exception:  # NVML's own errors: a driver without it, a slice of a GPU that has no such counter
        return None
