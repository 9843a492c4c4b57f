"""Prepared data as training and evaluation use it."""

import json
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from finetune_api.spec.data import Data, Dataset
from finetune_trainer.data.dialogue import Dialogue
from finetune_trainer.data.encode import Encoder
from finetune_trainer.data.items import Items, Shard
from finetune_trainer.data.problems import Source
from finetune_trainer.data.rows import Row
from finetune_trainer.data.shape import Shape
from finetune_trainer.data.split import Side
from finetune_trainer.data.store_index import CHOSEN, EXAMPLES, INDEX, TEST_ROWS, VALIDATION_ROWS, StoreIndex
from finetune_trainer.data.tensors import map_arrays


class Prepared:
    """The data, ready for training and evaluation; everything is read when it is first asked for."""

    def __init__(
        self,
        directory: Path,
        data: Data,
        shape: Shape,
        tokenizer: Any,
        *,
        tests: Literal["validation", "test"] = "test",
    ) -> None:
        """`directory` holds what was prepared; without its shards all but items can be asked for.

        `tests` is the side whose rows stand as test rows.
        """
        self.index = StoreIndex.model_validate_json((directory / INDEX).read_text())
        """Its numbers."""
        self.shape = shape
        self.dialogue = Dialogue(data.template, tokenizer)
        """How conversations are put to the model."""
        self._directory, self._data, self._tests = directory, data, tests

    def followed(self) -> "Prepared":
        """The same data with the validation rows as its test rows, to be measured like those."""
        return Prepared(self._directory, self._data, self.shape, self.encoder.tokenizer, tests="validation")

    @property
    def encoder(self) -> Encoder:
        """The tokenizer with its control tokens."""
        return self.dialogue.encoder

    @property
    def max_tokens(self) -> int:
        """Sequences are cut to this length."""
        return self.index.max_tokens

    @cached_property
    def train(self) -> Items:
        """Items to learn from."""
        return self._items("train")

    @cached_property
    def validation(self) -> Items:
        """Items whose loss is followed during training."""
        return self._items("validation")

    @cached_property
    def test(self) -> Items:
        """Items of the rows in `test_rows`, in their order."""
        return self._items(self._tests)

    @property
    def test_rows(self) -> list[Row]:
        """Rows to compare base and tuned model on, at most `spec.evaluation.maxRows`, chosen by hash."""
        return [row for _, row in self._tested]

    @property
    def test_datasets(self) -> list[int]:
        """Index of the data set of each of them: in `spec.data.test`, or in `spec.data.train` where it was cut off."""
        return [dataset for dataset, _ in self._tested]

    @cached_property
    def examples(self) -> list[Row]:
        """Training rows for worked examples, each different, in order of their place in the files."""
        return [row for _, row in self._kept(EXAMPLES, self._data.train)]

    @cached_property
    def _tested(self) -> list[tuple[int, Row]]:
        if self._tests == "test":
            return list(self._kept(TEST_ROWS, self._data.test or self._data.train))
        followed = {item.source for item in self.validation}
        rows = self._kept(VALIDATION_ROWS, self._data.validation or self._data.train)
        return [(dataset, row) for dataset, row in rows if row.source in followed]

    def _items(self, side: Side) -> Items:
        shards = [Shard(self._directory / name, self.index.files) for name in self.index.side(side).shards]
        return Items(shards, map_arrays(self._directory / CHOSEN).get(side))

    def _kept(self, name: str, datasets: list[Dataset]) -> Iterator[tuple[int, Row]]:
        """Rows written by `prepare`, parsed anew, with the index of their data set."""
        with (self._directory / name).open("rb") as lines:
            for line in lines:
                kept = json.loads(line)
                source = Source(kept["file"], kept["number"], kept["unit"])
                yield kept["dataset"], self.shape.parse(kept["row"], datasets[kept["dataset"]].columns, source)
