"""Which side a row is on: learnt from, followed during training, or compared on at the end.

A row's side depends on its content and the seed alone, so adding rows moves no other row, and equal rows can't be on
two sides. Where a data set is listed for a side, its rows are taken out of the sides that are learnt from. Data sets
must be taken in the order test, validation, train: then all but one case is known when a row is met. A digest of 16
bytes per row is all that is kept.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from finetune_api.base import Message
from finetune_api.conditions import Reason
from finetune_api.spec.data import Data
from finetune_trainer.errors import DataError

Side = Literal["train", "validation", "test"]
SIDES: Final[tuple[Side, ...]] = ("test", "validation", "train")
"""In the order in which their data sets are taken."""

_BYTES: Final = 16
"""Of a digest. Two different rows among 10 million have the same with a probability of 1e-25."""
_DIGEST: Final = np.dtype(f"S{_BYTES}")

Digests = NDArray[np.bytes_]


class Repeats(Message):
    """Equal rows, over all data sets."""

    duplicates: dict[Side, int] = Field(default={})
    """Rows of a side that stand on it more than once; each counts but the first."""
    train_test: int = 0
    """Rows listed to train on that are left out because they are test rows too."""
    train_validation: int = 0
    """The same with validation rows."""
    validation_test: int = 0
    """Rows listed for validation that are left out because they are test rows too."""

    @property
    def left_out(self) -> int:
        """Rows of listed data sets left out."""
        return self.train_test + self.train_validation + self.validation_test


@dataclass(frozen=True, slots=True)
class Placement:
    """The sides of some rows."""

    sides: list[Side | None]
    """None for a row that is left out, because it is a test or validation row too."""
    left_out: Counter[Side]
    """How many are, by the side that they are on already."""


@dataclass(frozen=True, slots=True)
class SideRule:
    """Which side rows are on that are listed for one; depends on nothing that is met later."""

    listed: Side
    seed: int
    test_share: float
    validation_share: float
    reserved: dict[Side, Digests]
    """Rows that are on another side already, by their digests in order."""

    def place(self, digests: Sequence[bytes]) -> Placement:
        """The side of each row, by the digest of its content."""
        sides: list[Side | None] = [self._cut(digest) if self.listed == "train" else self.listed for digest in digests]
        left_out: Counter[Side] = Counter()
        asked = _shortened(digests)
        for reserved, rows in self.reserved.items():
            for index in np.flatnonzero(_contains(rows, asked)):
                # A row that falls to the test side is compared on, whatever else it is listed for.
                if sides[index] not in (None, "test"):
                    sides[index] = None
                    left_out[reserved] += 1
        return Placement(sides, left_out)

    def _cut(self, digest: bytes) -> Side:
        fraction = hash_fraction(self.seed, digest)
        if fraction < self.test_share:
            return "test"
        return "validation" if fraction < self.test_share + self.validation_share else "train"


class Splitter:
    """Remembers which rows are on which side, in the order in which they are met."""

    def __init__(self, data: Data) -> None:
        self._seed = data.split.seed
        self._test_share = 0.0 if data.test else data.split.test
        self._validation_share = 0.0 if data.validation else data.split.validation
        self._cuts_test_off_listed = bool(data.validation) and not data.test
        self._seen: dict[Side, bytearray] = {side: bytearray() for side in SIDES}
        self._left_out = {"train_test": 0, "train_validation": 0, "validation_test": 0}

    def begin(self, listed: Side) -> SideRule:
        """The rule for rows from the data sets listed for this side; all rows before them have been taken."""
        earlier = SIDES[: SIDES.index(listed)]
        reserved = {side: np.unique(self._digests(side)) for side in earlier}
        return SideRule(listed, self._seed, self._test_share, self._validation_share, reserved)

    def take(self, listed: Side, digests: Sequence[bytes], placement: Placement) -> None:
        """Remember where the rule has put some rows."""
        for side, digest in zip(placement.sides, digests, strict=True):
            if side is not None:
                self._seen[side] += digest[:_BYTES]
        for side, count in placement.left_out.items():
            self._left_out[f"{listed}_{side}"] += count

    def dropped_validation(self) -> NDArray[np.bool_]:
        """Of each row placed on the validation side in order, whether it has turned out to be a test row too.

        Only where validation is listed and the test side is cut off train: then test rows are met last.
        """
        followed = self._digests("validation")
        if not self._cuts_test_off_listed:
            return np.zeros(len(followed), bool)
        return _contains(np.unique(self._digests("test")), followed)

    def repeats(self) -> Repeats:
        """What stands more than once. Ends the splitter's work."""
        dropped = self.dropped_validation()
        followed = self._digests("validation")[~dropped]
        counts = dict(self._left_out)
        counts["validation_test"] += int(dropped.sum())
        sides: dict[Side, Digests] = {
            "train": self._digests("train"), "validation": followed, "test": self._digests("test")
        }  # fmt: skip
        return Repeats(duplicates={side: _repeated(digests) for side, digests in sides.items()}, **counts)

    def _digests(self, side: Side) -> Digests:
        """A view, not a copy."""
        return np.frombuffer(self._seen[side], _DIGEST)


def hash_fraction(seed: int, digest: bytes) -> float:
    """A number in [0, 1) that depends on the seed and the row's content alone."""
    mark = hashlib.sha256(f"{seed}:".encode() + digest).digest()
    return int.from_bytes(mark[:6], "big") / 2**48


def require_rows(*, train: int, test: int) -> None:
    """Check that a job has something to learn from and something to compare on.

    Raises:
        DataError: a side that is needed has no rows.

    """
    if not train:
        raise DataError(
            reason=Reason.DATASET_EMPTY,
            message="data.train has no rows left to learn from",
            advice="check that the files hold rows that are not all in the test or validation data",
        )
    if not test:
        raise DataError(
            reason=Reason.DATASET_EMPTY,
            message="there are no test rows to compare base and tuned model on",
            advice="list data.test, raise data.split.test, or add rows",
        )


def _shortened(digests: Sequence[bytes]) -> Digests:
    return np.array([digest[:_BYTES] for digest in digests], _DIGEST)


def _contains(ordered: Digests, wanted: Digests) -> NDArray[np.bool_]:
    """Whether each wanted digest is among those in order."""
    if not len(ordered):
        return np.zeros(len(wanted), bool)
    places = np.minimum(np.searchsorted(ordered, wanted), len(ordered) - 1)
    found: NDArray[np.bool_] = ordered[places] == wanted
    return found


def _repeated(digests: Digests) -> int:
    """How many stand there already; they are sorted in place, to need no more memory."""
    digests.sort()
    return int((digests[1:] == digests[:-1]).sum())
