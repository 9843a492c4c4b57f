"""What a method has to know of an objective's head."""

from collections.abc import Sequence
from typing import Protocol


class TrainedHead(Protocol):
    """A head that is new, and is therefore trained whole whatever the method; held in float32."""

    @property
    def task_type(self) -> str:
        """PEFT's name of the task, SEQ_CLS."""

    @property
    def modules_to_save(self) -> Sequence[str]:
        """Names of its modules in the model, `score`."""
