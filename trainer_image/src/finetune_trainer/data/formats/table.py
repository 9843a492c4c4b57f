"""CSV and TSV: the first line names the columns, every cell is text, quotes are doubled inside quoted cells.

A byte order mark is accepted here and nowhere else: Excel writes it with "CSV UTF-8", and only with it does Excel read
the file back as UTF-8, so a user could not do without it.
"""

import csv
from codecs import BOM_UTF8
from collections.abc import Iterator
from io import BufferedReader
from typing import Final

from finetune_trainer.data.formats.base import Limits, ReadItem
from finetune_trainer.data.formats.lines import bounded_lines, too_long
from finetune_trainer.data.problems import FileError, RowError, Source

_QUOTE_REMEDY: Final = 'put the cell in double quotes and write "" for a quote inside it'
_FAULTS: Final = {
    "unexpected end of data": "a quoted cell is never closed",
    "expected after": "text follows a closing quote",
    "new-line character": "a carriage return stands alone, in a cell or as a line end",
}
"""What Python's csv module says, and what a user understands."""


def read_csv(label: str, stream: BufferedReader, limits: Limits) -> Iterator[ReadItem]:
    """The records of a comma-separated file, named by the line on which they start."""
    return _read_table(label, stream, limits, ",")


def read_tsv(label: str, stream: BufferedReader, limits: Limits) -> Iterator[ReadItem]:
    """The records of a tab-separated file with CSV's quoting, as spreadsheets write it."""
    return _read_table(label, stream, limits, "\t")


def _read_table(label: str, stream: BufferedReader, limits: Limits, delimiter: str) -> Iterator[ReadItem]:
    records = _records(_Lines(label, stream, limits.row_bytes), delimiter)
    source, header = next(records, (Source(label), None))
    if header is None:
        return
    if isinstance(header, RowError):
        raise FileError(source, header.problem, header.remedy)
    _check_header(source, header, delimiter)
    for place, cells in records:
        yield place, cells if isinstance(cells, RowError) else _as_row(header, cells)


def _as_row(header: list[str], cells: list[str]) -> dict[str, str] | RowError:
    if len(cells) != len(header):
        counts = f"it has {_cells(len(cells))} where the header has {len(header)}"
        return RowError(counts, "add what is missing; put cells with separators or line ends in double quotes")
    if cells == header:
        return RowError("it repeats the header", "remove it; files joined into one have one header")
    return dict(zip(header, cells, strict=True))


def _cells(count: int) -> str:
    return "1 cell" if count == 1 else f"{count} cells"


def _check_header(source: Source, header: list[str], delimiter: str) -> None:
    blank = [number for number, name in enumerate(header, start=1) if not name.strip()]
    if blank:
        problem = f"column {blank[0]} of the header has no name"
        raise FileError(source, problem, "name it or remove it (pandas: to_csv(..., index=False))")
    twice = next((name for name in header if header.count(name) > 1), None)
    if twice is not None:
        raise FileError(source, f"two columns of the header are named {twice!r}", "rename one")
    other = next((mark for mark in ",;\t|" if mark != delimiter and mark in header[0]), None)
    if len(header) == 1 and other:
        problem = f"the cells are separated by {other!r}, not by {delimiter!r}"
        raise FileError(source, problem, "use commas in .csv and tabs in .tsv")


class _Lines:
    """Decoded lines for csv.reader, which takes as many as a record has; knows what they add up to."""

    def __init__(self, label: str, stream: BufferedReader, row_bytes: int) -> None:
        self._label, self._row_bytes = label, row_bytes
        self._lines = bounded_lines(label, stream, row_bytes)
        self._next, self._size = 1, 0
        self.source = Source(label, 1)
        self.fault: RowError | None = None

    def start_record(self) -> None:
        self.source, self._size, self.fault = Source(self._label, self._next), 0, None

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        number, line = next(self._lines)
        self._next = number + 1
        self._size += len(line)
        if self._size > self._row_bytes:
            raise too_long(self.source, self._row_bytes)
        return self._decode(line.removeprefix(BOM_UTF8) if number == 1 else line, number)

    def _decode(self, line: bytes, number: int) -> str:
        try:
            return line.decode("utf-8")
        except UnicodeDecodeError as error:
            where = f"byte {error.start + 1} of line {number} is not UTF-8"
            self.fault = RowError(where, 'save the file as UTF-8 (in Excel: "CSV UTF-8")')
            # The record is still read to its end: where it ends does not depend on the bad bytes.
            return line.decode("utf-8", errors="replace")


def _records(lines: _Lines, delimiter: str) -> Iterator[tuple[Source, list[str] | RowError]]:
    """Records that are not blank lines.

    Raises:
        FileError: the quotes are broken, so that where the next record starts would be a guess.

    """
    csv.field_size_limit(1 << 62)  # its own bound is on single cells; `_Lines` bounds whole records
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        lines.start_record()
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            problem = next((text for sign, text in _FAULTS.items() if sign in str(error)), str(error))
            raise FileError(lines.source, f"{problem}; nothing after it was read", _QUOTE_REMEDY) from None
        if cells:
            yield lines.source, lines.fault or cells
