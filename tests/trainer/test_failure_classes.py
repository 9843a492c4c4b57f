"""Whatever ends a run becomes one of the trainer's errors, and no secret gets out with it."""

import errno
import logging

import pytest
import torch

from finetune_api.conditions import Reason
from finetune_api.exit_codes import ExitCode
from finetune_trainer.errors import DataError
from finetune_trainer.failures import Redactor, as_trainer_error

KNOWN = DataError(reason=Reason.DATASET_EMPTY, message="no rows", advice="add rows")
CASES = {
    "a trainer error stays itself": (KNOWN, ExitCode.DATA, Reason.DATASET_EMPTY),
    "memory of a GPU": (torch.OutOfMemoryError("CUDA out of memory"), ExitCode.OUT_OF_MEMORY, Reason.OUT_OF_MEMORY),
    "memory of the host": (MemoryError(), ExitCode.OUT_OF_MEMORY, Reason.OUT_OF_MEMORY),
    "torch's allocator on the host": (
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes"),
        ExitCode.OUT_OF_MEMORY,
        Reason.OUT_OF_MEMORY,
    ),
    "a full disk": (OSError(errno.ENOSPC, "No space left"), ExitCode.SETTINGS, Reason.SCRATCH_FULL),
    "memory that a library of the GPU could not get": (
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        ExitCode.OUT_OF_MEMORY,
        Reason.OUT_OF_MEMORY,
    ),
    "a GPU that the image has no code for": (
        RuntimeError("CUDA error: no kernel image is available for execution on the device\nCompile with TORCH_USE"),
        ExitCode.INFRASTRUCTURE,
        Reason.GPU_UNSUPPORTED,
    ),
    "a driver that is too old": (
        RuntimeError("The NVIDIA driver on your system is too old (found version 11040)."),
        ExitCode.INFRASTRUCTURE,
        Reason.GPU_UNSUPPORTED,
    ),
    "broken memory of a GPU": (
        RuntimeError("CUDA error: uncorrectable ECC error encountered"),
        ExitCode.INFRASTRUCTURE,
        Reason.GPU_FAULT,
    ),
    "a kernel's fault is no GPU's": (
        RuntimeError("CUDA error: an illegal memory access was encountered"),
        ExitCode.INFRASTRUCTURE,
        Reason.INTERNAL,
    ),
    "a collective that failed": (
        RuntimeError("NCCL error in: ProcessGroupNCCL.cpp:2251, unhandled system error, NCCL version 2.26.2"),
        ExitCode.INFRASTRUCTURE,
        Reason.COLLECTIVE_FAILED,
    ),
    "a collective that hung": (
        RuntimeError("[Rank 1] Watchdog caught collective operation timeout: WorkNCCL(SeqNum=42, OpType=ALLREDUCE)"),
        ExitCode.INFRASTRUCTURE,
        Reason.COLLECTIVE_FAILED,
    ),
    "a rank that is gone": (
        torch.distributed.DistNetworkError("The client socket has failed to connect to tune-train-0:29500"),
        ExitCode.INFRASTRUCTURE,
        Reason.RANK_LOST,
    ),
    "anything else": (ZeroDivisionError("division by zero"), ExitCode.INFRASTRUCTURE, Reason.INTERNAL),
}


@pytest.mark.parametrize(("error", "code", "reason"), CASES.values(), ids=CASES)
def test_every_error_has_a_class(error: Exception, code: ExitCode, reason: Reason) -> None:
    failure = as_trainer_error(error)
    assert (failure.exit_code, failure.reason) == (code, reason)
    assert failure.message
    assert failure.advice


def test_the_line_that_tells_is_shown_not_the_first() -> None:
    error = RuntimeError("[1]: params[0] in this process\nncclSystemError: Socket recv failed\nException raised from x")
    assert as_trainer_error(error).message.endswith("lost each other: ncclSystemError: Socket recv failed")


def test_a_message_has_one_line_however_long_the_error() -> None:
    message = as_trainer_error(ValueError("first\nsecond" + "x" * 1000)).message
    assert "\n" not in message
    assert len(message) < 400


def test_secrets_are_masked_in_logs_with_their_tracebacks(caplog: pytest.LogCaptureFixture) -> None:
    redactor = Redactor(["hunter2-hunter2", "hunter2"])
    try:
        raise ValueError("signed with hunter2-hunter2")
    except ValueError:
        logging.getLogger("test").exception("failed with %s", "hunter2")
    text = redactor.format(caplog.records[0])
    assert "hunter2" not in text
    assert "ValueError: signed with ***" in text


def test_secrets_are_masked_in_reports() -> None:
    error = as_trainer_error(ValueError("key hunter2"))
    assert Redactor(["hunter2"]).clean_error(error).message == "unexpected ValueError: key ***"


def test_an_empty_secret_masks_nothing() -> None:
    assert Redactor(["", "a"]).clean("banana") == "banana"
