"""Measuring in batches that are cut by a fixed plan, so that what was measured once need not be measured again.

How rows are batched decides the last bits of a number (other padding, other kernels), and under greedy decoding now and
then a word. So work that is taken up again does whole batches of the same plan, and ends where unbroken work would.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Final, Protocol

from finetune_trainer.data.plan import Step
from finetune_trainer.errors import StopRequested
from finetune_trainer.ranks import ALONE, Ranks

Numbers = list[int | float]
"""What was found of one row."""

BASE: Final = "base"
"""The subject that is the untouched base model."""


class Tape(Protocol):
    """What was found of the batches of one piece of work."""

    def find(self, batch: Step) -> list[Numbers] | None:
        """The batch's results in the order of its rows, if it was done before."""

    def add(self, batch: Step, found: list[Numbers]) -> None:
        """Take the results of a batch that was done now."""


@dataclass(frozen=True, slots=True)
class Work:
    """A piece of work, by all that decides its numbers but the base model and the machine."""

    subject: str
    """The model: `BASE`, or a fingerprint of the weights that were put on it."""
    kind: str
    """What is measured."""
    rows: Sequence[Any]
    """Arrays or lists of numbers that the model is given."""
    settings: Mapping[str, Any]
    """Of decoding, as JSON takes them."""
    plan: Sequence[Step]
    """The batches: indices of rows."""


class Keeper(Protocol):
    """Keeps results of batches beyond this process."""

    def open(self, work: Work) -> AbstractContextManager[Tape]:
        """The tape of a piece of work; what is on it is kept when the context ends, however it does."""


class _Blank:
    def find(self, batch: Step) -> list[Numbers] | None:  # noqa: ARG002
        return None

    def add(self, batch: Step, found: list[Numbers]) -> None:
        pass


@dataclass(frozen=True, slots=True)
class Recording:
    """Whether, and of which subject, results of batches are kept."""

    keeper: Keeper | None = None
    subject: str | None = None
    ranks: Ranks = ALONE
    """The processes that the batches are divided among."""

    def open(
        self, kind: str, rows: Sequence[Any], plan: Sequence[Step], settings: Mapping[str, Any]
    ) -> AbstractContextManager[Tape]:
        """The tape of a piece of work; one that forgets everything where nothing is kept."""
        if self.keeper is None or self.subject is None:
            return nullcontext(_Blank())
        return self.keeper.open(Work(self.subject, kind, rows, settings, plan))


NOT_RECORDED: Final = Recording()


def run_batches(
    plan: Sequence[Step],
    compute: Callable[[Step], list[Numbers]],
    on_batch: Callable[[int], None],
    tape: Tape,
    ranks: Ranks = ALONE,
) -> list[Numbers]:
    """What `compute` finds of each row, in the order of the rows; the batches of `plan` hold every row once.

    Batches that are on the tape are taken from there. `on_batch` is called with the number of rows of each batch that
    was computed; it may raise to stop, and the batch is on the tape by then. Of several processes the first one's tape
    counts; each computes some of the batches, and all are given all results.
    """
    done = ranks.tell({batch: results for batch in plan if (results := tape.find(batch)) is not None})
    todo = [batch for batch in plan if batch not in done]
    for start in range(0, len(todo), ranks.count):
        turn = todo[start : start + ranks.count]
        if ranks.count > 1:
            done |= _turn(turn, compute, on_batch, tape, ranks)
            continue
        (batch,) = turn
        done[batch] = compute(batch)
        tape.add(batch, done[batch])
        on_batch(len(batch))
    found = {row: numbers for batch in plan for row, numbers in zip(batch, done[batch], strict=True)}
    return [found[row] for row in range(len(found))]


def _turn(
    batches: Sequence[Step],
    compute: Callable[[Step], list[Numbers]],
    on_batch: Callable[[int], None],
    tape: Tape,
    ranks: Ranks,
) -> dict[Step, list[Numbers]]:
    """Results of at most a batch for each process.

    Raises:
        StopRequested: one of them was asked to stop.

    """
    mine, stop = {}, None
    try:
        for batch in batches[ranks.index : ranks.index + 1]:
            mine[batch] = compute(batch)
            on_batch(len(batch))
    except StopRequested as asked:
        stop = asked
    told = ranks.gather((mine, stop and (stop.reason, stop.message, stop.advice)))
    found = {batch: results for theirs, _ in told for batch, results in theirs.items()}
    for batch, results in found.items():
        tape.add(batch, results)
    for _, why in told:
        if why is not None:
            reason, message, advice = why
            raise StopRequested(reason=reason, message=message, advice=advice)
    return found
