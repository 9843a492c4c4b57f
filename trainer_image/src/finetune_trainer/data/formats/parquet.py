"""Parquet, read a few rows at a time; nested columns become the lists and objects that they are in JSON.

Imported only when a Parquet file is met: pyarrow takes time and memory that other formats need not pay.
"""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import pyarrow as pa
from pyarrow import parquet

from finetune_trainer.data.formats.base import Limits, RawRow, ReadItem
from finetune_trainer.data.problems import FileError, RowError, Source

_BATCH_ROWS: Final = 16
"""Few, because a small file may hold one large value for all its rows."""
_ROW_COST: Final = 16
"""Bytes that a row counts for beyond its values: rows of nothing would else be free, and without number."""


def read_parquet(label: str, path: Path, limits: Limits) -> Iterator[ReadItem]:
    """The rows of one file, counted from 1."""
    done, unpacked, limit = 0, 0, limits.unpacked(path.stat().st_size)
    for batch in _batches(label, path):
        unpacked += batch.nbytes + _ROW_COST * batch.num_rows
        if unpacked > limit:
            problem = f"the file unpacks to more than {limit:,} bytes"
            raise FileError(Source(label, done + 1, "row"), problem, "cut it into several, or upload it as JSONL")
        for index, row in enumerate(_rows(batch, limits.row_bytes)):
            yield Source(label, done + index + 1, "row"), row
        done += batch.num_rows


def _batches(label: str, path: Path) -> Iterator[pa.RecordBatch]:
    """Rows as Arrow holds them.

    Raises:
        FileError: the file is damaged. pyarrow says so by exceptions of many classes.

    """
    try:
        # Without these pyarrow reads whole row groups ahead and ignores the checksums of pages.
        options = {"pre_buffer": False, "buffer_size": 1 << 20, "page_checksum_verification": True}
        with parquet.ParquetFile(path, **options) as file:
            _check_names(label, file.schema_arrow.names)
            for batch in file.iter_batches(_BATCH_ROWS, use_threads=False):
                yield _without_dictionaries(batch)
    except FileError:
        raise
    except Exception as error:
        remedy = "write the file anew and upload it again"
        raise FileError(Source(label), f"the file is damaged or no Parquet: {_first_line(error)}", remedy) from None


def _check_names(label: str, names: list[str]) -> None:
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise FileError(Source(label), f"two columns are named {twice!r}", "rename one")


def _without_dictionaries(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Categories as their values: a slice of categories drags the whole dictionary along, and is measured with it."""

    def decoded(column: pa.Array) -> pa.Array:
        return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column

    return pa.RecordBatch.from_arrays([decoded(column) for column in batch.columns], names=batch.schema.names)


def _rows(batch: pa.RecordBatch, row_bytes: int) -> Iterator[RawRow | RowError]:
    """All rows at once where that is sure to succeed, else one by one, so that the bad ones are known."""
    if batch.nbytes <= row_bytes:
        with suppress(Exception):  # a bad value is told below, with its row
            return iter(batch.to_pylist())
    return (_row(batch.slice(index, 1), row_bytes) for index in range(batch.num_rows))


def _row(row: pa.RecordBatch, row_bytes: int) -> RawRow | RowError:
    if row.nbytes > row_bytes:
        return RowError(f"the row is longer than {row_bytes:,} bytes", "shorten it, or leave out columns not used")
    try:
        return dict(row.to_pylist()[0])
    except Exception as error:
        return RowError(f"a value cannot be read: {_first_line(error)}", "store the column as a string")


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
