"""Data sets prepared from rows at hand, as preflight prepares them from S3."""

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from finetune_api.spec.data import Data, Dataset
from finetune_api.spec.training import Objective
from finetune_trainer.data.prepare import Preparation
from finetune_trainer.data.prepared import Prepared
from finetune_trainer.data.quarantine import refuse_bad_rows
from finetune_trainer.data.shapes import make_shape
from finetune_trainer.data.split import require_rows
from finetune_trainer.data.store_index import StoreIndex
from finetune_trainer.data.stream import DatasetFiles

Rows = Sequence[dict[str, Any]]
Prepare = Callable[..., Prepared]

TRAIN = Dataset(uri="s3://team/train.jsonl")
VALIDATION = Dataset(uri="s3://team/validation.jsonl")
TEST = Dataset(uri="s3://team/test.jsonl")


def files_of(directory: Path, *, train: Rows, validation: Rows = (), test: Rows = ()) -> DatasetFiles:
    """Rows as the data sets of a job: lists of rows become files."""
    directory.mkdir(parents=True, exist_ok=True)

    def side(dataset: Dataset, rows: Rows) -> tuple[Dataset, list[tuple[str, Path]]]:
        path = directory / Path(dataset.uri).name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return dataset, [(dataset.uri, path)]

    return DatasetFiles(
        train=[side(TRAIN, train)],
        validation=[side(VALIDATION, validation)] if validation else [],
        test=[side(TEST, test)] if test else [],
    )


def data_of(files: DatasetFiles, **settings: Any) -> Data:
    """`spec.data` of the same data sets."""
    sides = {side: [dataset for dataset, _ in files.side(side)] for side in ("train", "validation", "test")}
    return Data(**sides, **settings)


def prepare_files(
    files: DatasetFiles, data: Data, tokenizer: Any, directory: Path, *, test_rows: int = 500, **settings: Any
) -> StoreIndex:
    """Prepare into an empty directory, without a verdict."""
    directory.mkdir(parents=True)
    max_tokens = data.max_tokens or 512
    shape = partial(make_shape, Objective(), data, tokenizer, max_tokens)
    preparation = Preparation(data, shape, directory, max_tokens=max_tokens, test_rows=test_rows, **settings)
    return preparation.run(files)


def open_files(directory: Path, data: Data, tokenizer: Any) -> Prepared:
    """What was prepared there."""
    return Prepared(directory, data, make_shape(Objective(), data, tokenizer, data.max_tokens or 512), tokenizer)


def prepare_accepted(files: DatasetFiles, data: Data, tokenizer: Any, directory: Path, **settings: Any) -> Prepared:
    """Prepare, judge as preflight does, and open."""
    index = prepare_files(files, data, tokenizer, directory, **settings)
    refuse_bad_rows(index.bad, index.rows_read, data)
    require_rows(train=index.train.rows, test=index.test.rows)
    return open_files(directory, data, tokenizer)
