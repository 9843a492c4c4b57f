"""What an experiment tracker has to do for us, and what goes wrong with one."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from finetune_trainer.metrics_file import StepRecord


class TrackerError(Exception):
    """A tracker is not installed, does not answer, or refuses."""


class Sink(Protocol):
    """One run in a tracker. Every method raises TrackerError."""

    def step(self, record: StepRecord) -> None:
        """Take a step."""

    def flush(self) -> None:
        """Make everything so far visible."""

    def close(self) -> None:
        """End the run."""


def values(record: StepRecord) -> dict[str, float]:
    """A step's numbers by the name they have in every tracker."""
    named = {
        "train/loss": record.loss,
        "train/grad_norm": record.grad_norm,
        "train/learning_rate": record.learning_rate,
        "train/tokens": record.tokens,
        "train/tokens_per_second": record.tokens_per_second,
        "validation/loss": record.validation_loss,
        "gpu/utilization": record.gpu_utilization,
        "gpu/memory_bytes": record.gpu_memory_bytes,
    }
    return {name: float(value) for name, value in named.items() if value is not None}


@contextmanager
def asking(tracker: str) -> Iterator[None]:
    """Translate whatever a tracker's library raises.

    Raises:
        TrackerError: naming the tracker.

    """
    try:
        yield
    except ImportError as error:
        raise TrackerError(f"{tracker} is not installed: pip install 'finetune-operator[trackers]'") from error
    except Exception as error:  # each library has errors of its own, and passes on those of HTTP and files
        raise TrackerError(f"{tracker}: {type(error).__name__}: {str(error).strip()[:500]}") from error
