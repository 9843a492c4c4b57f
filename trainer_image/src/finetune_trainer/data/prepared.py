"""Prepared data as training and evaluation use it."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune_api.spec.data import Data, Dataset
from finetune_trainer.data.dialogue import Dialogue
from finetune_trainer.data.encode import Encoder
from finetune_trainer.data.items import Items, Shard
from finetune_trainer.data.problems import Source
from finetune_trainer.data.rows import Row
from finetune_trainer.data.shape import Shape
from finetune_trainer.data.split import Side
from finetune_trainer.data.store_index import CHOSEN, EXAMPLES, INDEX, TEST_ROWS, StoreIndex
from finetune_trainer.data.tensors import map_arrays


@dataclass(frozen=True, slots=True)
class Prepared:
    """The data, ready for training and evaluation."""

    index: StoreIndex
    """Its numbers."""
    train: Items
    validation: Items
    test: Items
    """Items of the rows in `test_rows`, in their order."""
    test_rows: list[Row]
    """Rows to compare base and tuned model on, at most `spec.evaluation.maxRows`, chosen by hash."""
    test_datasets: list[int]
    """Index of the data set of each of them: in `spec.data.test`, or in `spec.data.train` where test is cut off it."""
    examples: list[Row]
    """Training rows for worked examples, each different, in order of their place in the files."""
    shape: Shape
    dialogue: Dialogue
    """How conversations are put to the model."""

    @property
    def encoder(self) -> Encoder:
        """The tokenizer with its control tokens."""
        return self.dialogue.encoder

    @property
    def max_tokens(self) -> int:
        """Sequences are cut to this length."""
        return self.index.max_tokens


def open_prepared(directory: Path, data: Data, shape: Shape, tokenizer: Any) -> Prepared:
    """Prepared data in a directory on disk."""
    index = StoreIndex.model_validate_json((directory / INDEX).read_text())
    chosen = map_arrays(directory / CHOSEN)

    def items(side: Side) -> Items:
        shards = [Shard(directory / name, index.files) for name in index.side(side).shards]
        return Items(shards, chosen.get(side))

    tested = list(_kept_rows(directory / TEST_ROWS, data.test or data.train, shape))
    return Prepared(
        index=index,
        train=items("train"),
        validation=items("validation"),
        test=items("test"),
        test_rows=[row for _, row in tested],
        test_datasets=[dataset for dataset, _ in tested],
        examples=[row for _, row in _kept_rows(directory / EXAMPLES, data.train, shape)],
        shape=shape,
        dialogue=Dialogue(data.template, tokenizer),
    )


def _kept_rows(path: Path, datasets: list[Dataset], shape: Shape) -> Iterator[tuple[int, Row]]:
    """Rows written by `prepare`, parsed anew, with the index of their data set."""
    with path.open("rb") as lines:
        for line in lines:
            kept = json.loads(line)
            source = Source(kept["file"], kept["number"], kept["unit"])
            yield kept["dataset"], shape.parse(kept["row"], datasets[kept["dataset"]].columns, source)
