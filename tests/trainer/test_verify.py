"""Only what the artifact causes is held against it; the process that verifies can fail for reasons of its own."""

import os
import signal
import sys
from types import SimpleNamespace

import pytest

from finetune_api.conditions import Reason
from finetune_trainer.errors import CredentialsError, DataError, InfrastructureError, StopRequested, TrainerError
from finetune_trainer.failures import as_failure
from finetune_trainer.signals import StopSignal
from finetune_trainer.verify import _run


def fails_with(error: TrainerError) -> str:
    return f"import sys; print({as_failure(error).model_dump_json()!r}); sys.exit({int(error.exit_code)})"


def error(kind: type[TrainerError], reason: Reason) -> TrainerError:
    return kind(reason=reason, message="cannot read s3://team/a", advice="look")


MISMATCH = (InfrastructureError, Reason.ARTIFACT_MISMATCH)
ENDS = {
    "S3 does not answer": (
        fails_with(error(InfrastructureError, Reason.STORAGE_UNAVAILABLE)),
        (InfrastructureError, Reason.STORAGE_UNAVAILABLE),
    ),
    "S3 refuses": (
        fails_with(error(CredentialsError, Reason.ACCESS_DENIED)),
        (CredentialsError, Reason.ACCESS_DENIED),
    ),
    "it cannot load the artifact": (fails_with(error(DataError, Reason.INTERNAL)), MISMATCH),
    "it crashes": ("import os; os.abort()", MISMATCH),
    "it says something else and fails": ("import sys; print('{}'); sys.exit(20)", MISMATCH),
}


@pytest.mark.parametrize(("code", "expected"), ENDS.values(), ids=ENDS)
def test_only_what_the_artifact_causes_is_held_against_it(
    code: str, expected: tuple[type[TrainerError], Reason]
) -> None:
    with pytest.raises(TrainerError) as caught:
        _run(SimpleNamespace(stop=StopSignal()), [sys.executable, "-c", code])
    assert (type(caught.value), caught.value.reason) == expected


def test_a_stop_request_that_ends_the_process_too_is_no_fault_of_the_artifact() -> None:
    stop = StopSignal().install()
    ask = f"import os, signal; os.kill({os.getpid()}, signal.SIGTERM); os.kill(os.getpid(), signal.SIGTERM)"
    try:
        with pytest.raises(StopRequested):
            _run(SimpleNamespace(stop=stop), [sys.executable, "-c", ask])
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
