"""Strict reading of JSONL: every row is an object in UTF-8, or its file and line are named.

Lines end at a line feed alone (JSON text may hold other Unicode line ends); blank lines are skipped.
"""

import json
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from finetune_trainer.data.problems import Problems, RowError, Source

RawRow = dict[str, Any]
"""One object as it stands in the file; parsed into a Row by `rows.parse_row` and nowhere else."""


def read_jsonl(label: str, path: Path, problems: Problems) -> Iterator[tuple[Source, RawRow]]:
    """The objects of one file with their places, line by line; what is not an object goes to `problems`.

    `label` is the name the user knows the file by (its URI).
    """
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            source = Source(label, number)
            if number == 1 and line.startswith((BOM_UTF16_LE, BOM_UTF16_BE)):
                problems.add(source, RowError("the file is UTF-16", "save it as UTF-8 without a byte order mark"))
                return
            if not line.strip():
                continue
            try:
                yield source, _parse_line(line)
            except RowError as error:
                problems.add(source, error)


def _parse_line(line: bytes) -> RawRow:
    if line.startswith(BOM_UTF8):
        raise RowError("the line starts with a byte order mark", "save the file as UTF-8 without one")
    try:
        value = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise RowError(f"byte {error.start + 1} is not UTF-8", "save the file as UTF-8") from None
    except json.JSONDecodeError as error:
        raise RowError(f"broken JSON at column {error.colno}: {error.msg}", _json_remedy(line)) from None
    except (ValueError, RecursionError):
        raise RowError("broken JSON: a number is too long or objects are nested too deep", "simplify it") from None
    if not isinstance(value, dict):
        raise RowError(f"the line holds {json_type(value)}, not an object", _json_remedy(line))
    return value


def _json_remedy(line: bytes) -> str:
    if line.lstrip().startswith(b"["):
        return "write one object per line without the surrounding [ ] and commas"
    return "write one complete JSON object per line"


def json_type(value: object) -> str:
    """What a value is, in JSON's words with an article."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, int | float):
        return "a number"
    names: dict[type, str] = {str: "a string", list: "an array", dict: "an object"}
    return names[type(value)]
