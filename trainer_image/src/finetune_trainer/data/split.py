"""Rows on three sides: learnt from, followed during training, and compared on at the end.

A row's side depends on its content and the seed alone, so adding rows moves no other row, and equal rows can't be on
two sides.
"""

import hashlib
from dataclasses import dataclass

from finetune_api.conditions import Reason
from finetune_api.spec.data import Split
from finetune_trainer.data.rows import Row
from finetune_trainer.errors import DataError


@dataclass(frozen=True, slots=True)
class Splits:
    """The three sides."""

    train: list[Row]
    validation: list[Row]
    test: list[Row]
    left_out: int
    """Rows of listed data sets left out because a side closer to the final comparison holds the same row."""


def split_rows(train: list[Row], validation: list[Row], test: list[Row], split: Split) -> Splits:
    """Cut the sides that are not listed off `train`, and keep test rows out of everything learnt from.

    Raises:
        DataError: a side that is needed has no rows.

    """
    sides: dict[str, list[Row]] = {"train": [], "validation": list(validation), "test": list(test)}
    test_share = 0.0 if test else split.test
    validation_share = 0.0 if validation else split.validation
    for row in train:
        place = hash_fraction(split.seed, row)
        side = "test" if place < test_share else "validation" if place < test_share + validation_share else "train"
        sides[side].append(row)
    listed = sum(map(len, sides.values()))
    compared = {row.digest() for row in sides["test"]}
    followed = _without(sides["validation"], compared)
    learnt = _without(sides["train"], compared | {row.digest() for row in followed})
    left_out = listed - len(learnt) - len(followed) - len(sides["test"])
    _require_rows(learnt, sides["test"])
    return Splits(learnt, followed, sides["test"], left_out)


def hash_fraction(seed: int, row: Row) -> float:
    """A number in [0, 1) that depends on the seed and the row's content alone."""
    mark = hashlib.sha256(f"{seed}:".encode() + row.digest()).digest()
    return int.from_bytes(mark[:6], "big") / 2**48


def _without(rows: list[Row], digests: set[bytes]) -> list[Row]:
    return [row for row in rows if row.digest() not in digests]


def _require_rows(train: list[Row], test: list[Row]) -> None:
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
