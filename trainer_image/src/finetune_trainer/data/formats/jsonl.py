"""JSON Lines: one object per line; blank lines are skipped."""

import json
from codecs import BOM_UTF8
from collections.abc import Iterator
from io import BufferedReader

from finetune_trainer.data.formats.base import Limits, RawRow, ReadItem
from finetune_trainer.data.formats.lines import bounded_lines
from finetune_trainer.data.formats.strict_json import StrictDecoder
from finetune_trainer.data.problems import FileError, RowError, Source


def read_jsonl(label: str, stream: BufferedReader, limits: Limits) -> Iterator[ReadItem]:
    """The objects of one file; a line that holds none does not keep those after it from being read."""
    decoder = StrictDecoder()
    is_first = True
    for number, line in bounded_lines(label, stream, limits.row_bytes):
        if not line.strip():
            continue
        source = Source(label, number)
        if is_first and (line.lstrip().startswith(b"[") or line.strip() == b"{"):
            raise FileError(source, "the file is one JSON document, not JSON Lines", "let its name end in .json")
        is_first = False
        try:
            yield source, _parse_line(decoder, line)
        except RowError as error:
            error.text = line.decode("utf-8", errors="replace").rstrip("\r\n")
            yield source, error


def _parse_line(decoder: StrictDecoder, line: bytes) -> RawRow | RowError:
    text = _decode(line)
    try:
        value, end = decoder.value_at(text, len(text) - len(text.lstrip(" \t\r\n")))
    except json.JSONDecodeError as error:
        raise RowError(f"broken JSON at column {error.colno}: {error.msg}", _remedy(line)) from None
    if text[end:].strip(" \t\r\n"):
        raise RowError(f"broken JSON at column {end + 1}: text follows the object", _remedy(line))
    return decoder.object_or_fault(value, _remedy(line))


def _decode(line: bytes) -> str:
    if line.startswith(BOM_UTF8):
        raise RowError("the line starts with a byte order mark", "save the file as UTF-8 without one")
    try:
        # Without its line end, which would be taken for a control character inside a string that is never closed.
        return line.rstrip(b"\r\n").decode("utf-8")
    except UnicodeDecodeError as error:
        raise RowError(f"byte {error.start + 1} is not UTF-8", "save the file as UTF-8") from None


def _remedy(line: bytes) -> str:
    if line.lstrip().startswith(b"["):
        return "write one object per line without the surrounding [ ] and commas"
    return "write one complete JSON object per line"
