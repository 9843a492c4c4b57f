"""What is written is read back, in every format and packing; no bytes make a reader do more than report."""

import csv
import gzip
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from backports import zstd
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from finetune_trainer.data.formats.base import Limits
from finetune_trainer.data.problems import Problems
from finetune_trainer.data.read import read_rows

QUICK = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
LIMITS = Limits(row_bytes=2000, unpacked_bytes=100_000)

TEXT = st.text(st.characters(codec="utf-8"), max_size=30)
ROWS = st.lists(st.fixed_dictionaries({"q": TEXT, "a": TEXT}), max_size=30)


def json_lines(rows: list[Any]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def table(rows: list[Any], delimiter: str) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, ["q", "a"], delimiter=delimiter, quoting=csv.QUOTE_ALL)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def columns(rows: list[Any]) -> bytes:
    buffer = io.BytesIO()
    schema = pa.schema({"q": pa.string(), "a": pa.string()})
    parquet.write_table(pa.Table.from_pylist(rows, schema), buffer)
    return buffer.getvalue()


WRITE = {
    ".jsonl": json_lines,
    ".json": lambda rows: json.dumps(rows).encode(),
    ".csv": lambda rows: table(rows, ","),
    ".tsv": lambda rows: table(rows, "\t"),
}
PACK = {"": bytes, ".gz": gzip.compress, ".zst": zstd.compress}
NAMES = [*(f"x{ending}{packing}" for ending in WRITE for packing in PACK), "x.parquet"]


def write(name: str, rows: list[Any]) -> bytes:
    if name == "x.parquet":
        return columns(rows)
    _, ending, packing = (*name.split("."), "")[:3]
    return PACK[f".{packing}" if packing else ""](WRITE[f".{ending}"](rows))


def read(path: Path, name: str, content: bytes) -> tuple[list[Any], Problems]:
    file = path / "file"
    file.write_bytes(content)
    problems = Problems()
    return [row for _, row in read_rows(name, file, problems, LIMITS)], problems


@pytest.mark.parametrize("name", NAMES)
@QUICK
@given(rows=ROWS)
def test_what_is_written_is_read_back(tmp_path: Path, name: str, rows: list[Any]) -> None:
    found, problems = read(tmp_path, name, write(name, rows))
    header_as_row = {"q": "q", "a": "a"}
    is_table = ".csv" in name or ".tsv" in name
    assert found == [row for row in rows if not (is_table and row == header_as_row)]
    assert problems.total == len(rows) - len(found)


@pytest.mark.parametrize("name", NAMES)
@QUICK
@given(content=st.binary(max_size=300) | TEXT.map(str.encode))
@example(content=b'{"a": [[[')
@example(content=b"[{},")
@example(content=b'"')
def test_no_bytes_break_a_reader(tmp_path: Path, name: str, content: bytes) -> None:
    _, problems = read(tmp_path, name, content)
    assert all(line.startswith(name) and (line.endswith(": the same") or "; " in line) for line in problems.shown)


@pytest.mark.parametrize("name", NAMES)
@QUICK
@given(data=st.data(), rows=ROWS)
def test_no_damage_to_a_good_file_breaks_a_reader(
    tmp_path: Path, name: str, data: st.DataObject, rows: list[Any]
) -> None:
    content = bytearray(write(name, rows))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, max(0, len(content) - 1)))
        content[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    _, problems = read(tmp_path, name, bytes(content))
    assert all(line.startswith(name) and (line.endswith(": the same") or "; " in line) for line in problems.shown)


@pytest.mark.parametrize("name", [name for name in NAMES if name.endswith((".gz", ".zst", ".parquet"))])
@QUICK
@given(rows=ROWS, share=st.floats(0, 1, exclude_max=True))
def test_a_packed_file_cut_off_anywhere_is_noticed(tmp_path: Path, name: str, rows: list[Any], share: float) -> None:
    content = write(name, rows)
    _, problems = read(tmp_path, name, content[: int(len(content) * share)])
    assert problems.total >= 1
