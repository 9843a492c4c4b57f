"""From a file to raw objects: which reader reads it is decided by the end of its name, here alone."""

from collections.abc import Callable, Iterator
from io import BufferedReader
from pathlib import Path
from typing import Final

from finetune_trainer.data.formats.base import LIMITS, Limits, RawRow, ReadItem
from finetune_trainer.data.formats.json_array import read_json
from finetune_trainer.data.formats.jsonl import read_jsonl
from finetune_trainer.data.formats.start import check_start
from finetune_trainer.data.formats.table import read_csv, read_tsv
from finetune_trainer.data.formats.text import read_text
from finetune_trainer.data.formats.unpack import PACKINGS, open_unpacked
from finetune_trainer.data.problems import FileError, Problems, RowError, Source

_TEXT: Final[dict[str, Callable[[str, BufferedReader, Limits], Iterator[ReadItem]]]] = {
    ".jsonl": read_jsonl,
    ".ndjson": read_jsonl,
    ".json": read_json,
    ".csv": read_csv,
    ".tsv": read_tsv,
    ".txt": read_text,
}
"""Readers of text, which may be packed."""
_PARQUET: Final = ".parquet"
_OTHER_PACKINGS: Final = (".bz2", ".xz", ".zip", ".lz4", ".br", ".7z", ".gzip", ".zstd")
KNOWN: Final = f"{', '.join(_TEXT)}, each also with {' or '.join(PACKINGS)}, and {_PARQUET}"
"""The names of data files, for messages."""


def is_data_file(name: str) -> bool:
    """Whether a file can be read by its name."""
    ending, packing = _ending(name)
    return ending in _TEXT or (ending == _PARQUET and packing is None)


def looks_like_data(name: str) -> bool:
    """Whether a file that can't be read holds rows by its name: `rows.jsonl.bz2`, `rows.parquet.gz`."""
    outer = Path(name.lower())
    is_packed = outer.suffix in (*PACKINGS, *_OTHER_PACKINGS)
    return is_packed and Path(outer.stem).suffix in (*_TEXT, _PARQUET) and not is_data_file(name)


def read_rows(
    label: str,
    path: Path,
    problems: Problems,
    limits: Limits = LIMITS,
    on_bytes: Callable[[int], None] = lambda _count: None,
) -> Iterator[tuple[Source, RawRow]]:
    """The objects of one file with their places; what is not an object goes to `problems`.

    `label` is the name the user knows the file by (its URI). `on_bytes` is told how many bytes of the file were read,
    as they are (of Parquet, never).
    """
    try:
        for source, item in _read(label, path, limits, on_bytes):
            if isinstance(item, RowError):
                problems.add(source, item)
            else:
                yield source, item
    except FileError as error:
        problems.add(error.source, error)


def _read(label: str, path: Path, limits: Limits, on_bytes: Callable[[int], None]) -> Iterator[ReadItem]:
    if not is_data_file(label):
        raise FileError(Source(label), "the file's format is not known by its name", f"known are {KNOWN}")
    ending, packing = _ending(label)
    if ending == _PARQUET:
        from finetune_trainer.data.formats.parquet import read_parquet  # noqa: PLC0415  pyarrow is heavy

        yield from read_parquet(label, path, limits)
        return
    with open_unpacked(label, path, packing, limits, on_bytes) as stream:
        check_start(label, stream)
        yield from _TEXT[ending](label, stream, limits)


def _ending(name: str) -> tuple[str, str | None]:
    """What a file is, and how it is packed."""
    suffixes = Path(name.lower()).suffixes
    packing = suffixes.pop() if suffixes and suffixes[-1] in PACKINGS else None
    return (suffixes[-1] if suffixes else "", packing)
