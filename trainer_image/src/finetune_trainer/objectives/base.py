"""What the training loop knows of an objective."""

from collections.abc import Sequence
from typing import Any, Protocol

from torch import Tensor


class Task(Protocol):
    """Items to learn from, and their loss.

    The gradient of a step is that of the items' summed loss, divided by their summed weight, so that how a step is cut
    into micro-batches changes nothing.
    """

    @property
    def lengths(self) -> Sequence[int]:
        """Real tokens of each item, padding not counted."""

    def weight(self, index: int) -> float:
        """What an item counts in a mean: the weights of its supervised tokens, or 1 where the item is one decision."""

    def supervised(self, index: int) -> float:
        """Tokens of an item that the language model's head is applied to."""

    def losses(self, model: Any, indices: Sequence[int], *, packing: bool) -> Tensor:
        """Summed loss of each item, float32 [items], differentiable in what `model` trains.

        `packing` allows rows to be packed without padding; it changes memory and speed alone.
        """


def supervised_share(task: Task) -> float:
    """Tokens that go through the language model's head, of all tokens."""
    return sum(map(task.supervised, range(len(task.lengths)))) / sum(task.lengths)
