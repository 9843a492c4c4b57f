"""Every way a run can end without a result; each class has the exit code that the operator acts on.

    TrainerError
    ├── SettingsError        10  the spec cannot work as written
    ├── DataError            11  the data cannot be used
    ├── CredentialsError     12  S3 refused the job
    ├── OutOfMemoryError_    13  memory did not suffice
    ├── DivergedError        14  the loss is not finite or rises
    ├── GatesFailedError     15  the result does not reach what spec.evaluation.gates asks for
    ├── InfrastructureError  20  worth another attempt
    └── StopRequested        75  asked to stop, state saved
        └── RanksStopped     76  some of the processes that train together were asked, so all stopped

Code that finds a fault raises one of these, with a message that names the file, line or field and an advice
that says what to do. `command_line` alone turns it into a report and an exit code.
"""

from typing import ClassVar

from finetune_api.conditions import Reason
from finetune_api.exit_codes import ExitCode


class TrainerError(Exception):
    """A fault that the user is told about."""

    exit_code: ClassVar[ExitCode]

    def __init__(self, *, reason: Reason, message: str, advice: str) -> None:
        """Say what happened (`message`, naming file, line or field) and what to do about it (`advice`)."""
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.advice = advice[:1].upper() + advice[1:].rstrip(".") + "."


class SettingsError(TrainerError):
    """The spec cannot work as written."""

    exit_code = ExitCode.SETTINGS


class DataError(TrainerError):
    """The data cannot be used."""

    exit_code = ExitCode.DATA


class CredentialsError(TrainerError):
    """S3 refused the job's identity."""

    exit_code = ExitCode.CREDENTIALS


class OutOfMemoryError_(TrainerError):  # noqa: N801, N818  the underscore keeps it apart from torch's
    """GPU or host memory did not suffice."""

    exit_code = ExitCode.OUT_OF_MEMORY


class DivergedError(TrainerError):
    """The loss or the weights are no longer finite."""

    exit_code = ExitCode.DIVERGED


class GatesFailedError(TrainerError):
    """The result is there, and does not reach what `spec.evaluation.gates` asks for."""

    exit_code = ExitCode.GATES_FAILED


class InfrastructureError(TrainerError):
    """A fault outside the job's own input; another attempt may succeed."""

    exit_code = ExitCode.INFRASTRUCTURE


class StopRequested(TrainerError):  # noqa: N818  a request, not an error
    """The pod was asked to leave; what was done is saved."""

    exit_code = ExitCode.PREEMPTED


class RanksStopped(StopRequested):
    """Some of the processes that train together were asked to leave, so all have saved and left."""

    exit_code = ExitCode.RANKS_PREEMPTED
