"""What GPUs, their drivers and the libraries between ranks say when they fail, told apart by their words.

CUDA, cuBLAS and NCCL raise plain `RuntimeError`s; their texts are the only thing that differs. Memory is looked for
first, since a failed allocation comes with other words as well. A fault of a kernel (illegal access, assert) is no
machine's: NVIDIA counts Xid 13, 31 and 43 as an application's, so those are not told as faults of the GPU.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from finetune_api.conditions import Reason
from finetune_trainer.errors import InfrastructureError

_OUT_OF_MEMORY: Final = (
    "out of memory",
    "can't allocate memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)


@dataclass(frozen=True, slots=True)
class _Fault:
    words: tuple[str, ...]
    reason: Reason
    message: str
    advice: str


_FAULTS: Final = (
    _Fault(
        (
            "no kernel image is available",
            "driver version is insufficient",
            "NVIDIA driver on your system is too old",
            "forward compatibility was attempted on non supported HW",
            "CUDA capability sm_",
        ),
        Reason.GPU_UNSUPPORTED,
        "this node's GPU or driver is too old for the trainer image",
        "Ask for another kind of node with scheduling.nodeSelector; the platform team can update the driver",
    ),
    _Fault(
        (
            "uncorrectable ECC error",
            "hardware stack error",
            "fallen off the bus",
            "device not ready",
            "devices are busy or unavailable",
            "system not yet initialized",
            "CUDA error: unknown error",
            "CUDA error: initialization error",
            "NVLink",
            "HIP error: unknown error",
        ),
        Reason.GPU_FAULT,
        "the GPU or its driver failed",
        "Nothing yet: the next attempt goes on from the last checkpoint. If it happens again on this node, the "
        "platform team should look at its GPUs",
    ),
    _Fault(
        (
            "NCCL error",
            "ncclSystemError",
            "ncclRemoteError",
            "ncclInternalError",
            "ncclUnhandledCudaError",
            "collective operation timeout",
        ),
        Reason.COLLECTIVE_FAILED,
        "the trainers that work together lost each other",
        "Nothing yet: all start anew from the last checkpoint. If it happens again, the platform team should look at "
        "the network between the nodes",
    ),
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory of a GPU or of the machine did not suffice."""
    if isinstance(error, MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _OUT_OF_MEMORY)


def gpu_fault(error: BaseException) -> InfrastructureError | None:
    """A known fault of GPU, driver or communication; None for anything else."""
    if not isinstance(error, RuntimeError):
        return None
    text = f"{type(error).__name__}: {error}"
    found = next((fault for fault in _FAULTS if any(words in text for words in fault.words)), None)
    if found is None:
        return None
    message = f"{found.message}: {_telling_line(str(error), found.words)}"
    return InfrastructureError(reason=found.reason, message=message, advice=found.advice)


def _telling_line(text: str, words: tuple[str, ...]) -> str:
    """The line that says it; libraries put stack traces and hints around it."""
    lines: Iterator[str] = (line.strip() for line in text.splitlines())
    return next((line for line in lines if any(word in line for word in words)), text.strip())[:300]
