"""Every format and packing: what is read from which bytes, and how a file that can't be read is reported."""

import codecs
import gzip
import io
import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from backports import zstd
from pyarrow import parquet

from finetune_trainer.data.formats.base import LIMITS, Limits
from finetune_trainer.data.problems import Problems
from finetune_trainer.data.read import is_data_file, looks_like_data, read_rows

Q_A = {"q": "1", "a": "2"}


def read(path: Path, name: str, content: bytes, limits: Limits = LIMITS) -> tuple[list[tuple[str, Any]], list[str]]:
    """Places with their rows, and the report."""
    file = path / "file"
    file.write_bytes(content)
    problems = Problems()
    rows = [(str(source), row) for source, row in read_rows(name, file, problems, limits)]
    return rows, problems.shown


def as_parquet(table: pa.Table | list[dict[str, Any]], **options: Any) -> bytes:
    buffer = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist(table) if isinstance(table, list) else table, buffer, **options)
    return buffer.getvalue()


TURNS = {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}
DAMAGED = bytearray(as_parquet([Q_A] * 50, compression="gzip"))
DAMAGED[10:60] = b"\xff" * 50

READ: dict[str, tuple[str, bytes, list[tuple[str, Any]]]] = {
    "JSON Lines": (
        "x.jsonl", b'{"q": "1", "a": "2"}\n\n {"q": null}', [("x.jsonl:1", Q_A), ("x.jsonl:3", {"q": None})]
    ),
    "its other name, in capitals": ("X.NDJSON", b'{"q": "1", "a": "2"}\r\n', [("X.NDJSON:1", Q_A)]),
    "an array": ("x.json", b' [{"q": "1", "a": "2"},\n{"q": 1.5}]\n', [("x.json[0]", Q_A), ("x.json[1]", {"q": 1.5})]),
    "an empty array": ("x.json", b"[ ]", []),
    "an array in an object": (
        "x.json", b'{"version": 1, "by": {"a": [0]}, "rows": [{"q": "1", "a": "2"}], "n": 1}', [("x.json[0]", Q_A)]
    ),
    "an object with an empty array": ("x.json", b'{"rows": []}', []),
    "CSV": ("x.csv", b"q,a\n1,2\n", [("x.csv:2", Q_A)]),
    "CSV as Excel writes it": ("x.csv", codecs.BOM_UTF8 + b'"q",a\r\n1,2\r\n', [("x.csv:2", Q_A)]),
    "line ends in cells": (
        "x.csv", b'q,a\n"1\n\r\n",2\n\n"say ""hi""","a,b"',
        [("x.csv:2", {"q": "1\n\r\n", "a": "2"}), ("x.csv:6", {"q": 'say "hi"', "a": "a,b"})],
    ),
    "cells are text whatever they look like": (
        "x.csv", b"q,a\n007,NaN\n,true\n", [("x.csv:2", {"q": "007", "a": "NaN"}), ("x.csv:3", {"q": "", "a": "true"})]
    ),
    "TSV": ("x.tsv", b'q\ta\n1\t"2\t,"\n', [("x.tsv:2", {"q": "1", "a": "2\t,"})]),
    "a document": ("x.txt", b"One.\r\n\n Two. \n", [("x.txt", {"text": "One.\r\n\n Two. \n"})]),
    "a document with a byte order mark": ("x.txt", codecs.BOM_UTF8 + b"One.", [("x.txt", {"text": "One."})]),
    "a packed document": ("x.txt.zst", zstd.compress(b"One."), [("x.txt.zst", {"text": "One."})]),
    "an empty document": ("x.txt.gz", gzip.compress(b""), []),
    "Parquet": ("x.parquet", as_parquet([Q_A, {"q": None, "a": "3"}]),
                [("x.parquet row 1", Q_A), ("x.parquet row 2", {"q": None, "a": "3"})]),
    "turns in Parquet": ("x.parquet", as_parquet([TURNS]), [("x.parquet row 1", TURNS)]),
    "categories in Parquet": (
        "x.parquet", as_parquet(pa.table({"q": pa.array(["1"]).dictionary_encode(), "a": ["2"]})),
        [("x.parquet row 1", Q_A)],
    ),
    "Parquet without rows": ("x.parquet", as_parquet(pa.table({"q": pa.array([], pa.string())})), []),
    "JSON Lines without rows": ("x.jsonl", b"", []),
    "CSV without a header": ("x.csv", b"", []),
    "CSV without rows": ("x.csv", b"q,a\n", []),
    "two gzip members": ("x.csv.gz", gzip.compress(b"q,a\n") + gzip.compress(b"1,2\n"), [("x.csv.gz:2", Q_A)]),
    "two zstd frames": ("x.csv.zst", zstd.compress(b"q,a\n") + zstd.compress(b"1,2\n"), [("x.csv.zst:2", Q_A)]),
}  # fmt: skip


@pytest.mark.parametrize("name", READ)
def test_it_is_read(tmp_path: Path, name: str) -> None:
    file, content, expected = READ[name]
    assert read(tmp_path, file, content) == (expected, [])


REPORTED: dict[str, tuple[str, bytes, list[str]]] = {
    # the name
    "an unknown ending": ("x.xlsx", b"", ["x.xlsx: the file's format is not known by its name; known are .jsonl, "]),
    "no ending": ("data.v1/rows", b"", ["data.v1/rows: the file's format is not known by its name"]),
    "packed Parquet": ("x.parquet.gz", b"", ["x.parquet.gz: the file's format is not known by its name"]),
    # the first bytes
    "UTF-16": ("x.csv", "q,a\n1,2\n".encode("utf-16"), ["x.csv: the file is UTF-16; save it as UTF-8"]),
    "UTF-32": ("x.json", "[]".encode("utf-32"), ["x.json: the file is UTF-32; save it as UTF-8"]),
    "UTF-16 without a mark": ("x.tsv", "q\ta".encode("utf-16-le"), ["x.tsv: the file is binary, or UTF-16 without"]),
    "gzip by another name": ("x.jsonl", gzip.compress(b"{}"), ["x.jsonl: the file is packed with gzip; let its name"]),
    "packed twice": ("x.jsonl.gz", gzip.compress(zstd.compress(b"{}")), ["x.jsonl.gz: the file is packed with zstd;"]),
    "Parquet by another name": ("x.csv", as_parquet([Q_A]), ["x.csv: the file is Parquet; let its name end in .parq"]),
    "a workbook": ("x.csv", b"PK\x03\x04...", ["x.csv: the file is a zip archive or a workbook; unpack it, or export"]),
    # JSON Lines
    "a JSON document as JSON Lines": (
        "x.jsonl", b'\n[{"q": "1"},\n{"q": "2"}]', ["x.jsonl:2: the file is one JSON document, not JSON Lines; let its"]
    ),
    "a document over several lines": ("x.jsonl", b'{\n"rows": []}', ["x.jsonl:1: the file is one JSON document"]),
    "a key twice": (
        "x.jsonl", b'{"q": "1", "a": {"b": 1, "b": 2}}\n{"q": "1"',
        [
            "x.jsonl:1: the key 'b' stands twice in one object; keep the one that is meant",
            "x.jsonl:2: broken JSON at column 10: Expecting ',' delimiter; write one complete JSON object per line",
        ],
    ),
    "no number": ("x.jsonl", b'{"q": NaN}', ["x.jsonl:1: NaN is not JSON; write a number, a string or null"]),
    "two objects on a line": ("x.jsonl", b'{} {}', ["x.jsonl:1: broken JSON at column 3: text follows the object"]),
    # JSON
    "JSON Lines as JSON": (
        "x.json", b'{"messages": [{"role": "user"}]}\n{"messages": []}\n',
        ["x.json: the file holds one object after the other; let its name end in .jsonl"],
    ),
    "an empty file": ("x.json", b" \n", ["x.json: the file is empty; write an array of objects"]),
    "a string": ("x.json", b'"a"', ["x.json: the file is no JSON array; write an array of objects"]),
    "a byte order mark": ("x.json", codecs.BOM_UTF8 + b"[]", ["x.json: the file starts with a byte order mark; save"]),
    "an object alone": ("x.json", b'{"q": "1"}', ["x.json: the file is one object without an array in it; write an"]),
    "two arrays": ("x.json", b'{"train": [],\n"test": []}', ["x.json:2: the file has two arrays, 'train' and 'test';"]),
    "elements of every bad kind": (
        "x.json", b'[1, {"q": 1, "q": 2}, {"q": -Infinity}, null]',
        [
            "x.json[0]: it holds a number, not an object; write an array of objects",
            "x.json[1]: the key 'q' stands twice in one object; keep the one that is meant",
            "x.json[2]: -Infinity is not JSON; write a number, a string or null",
            "x.json[3]: it holds null, not an object; write an array of objects",
        ],
    ),
    "a missing comma": ("x.json", b'[\n{}\n {}]', ["x.json:3: broken JSON at column 2: '{' where ',' should stand;"]),
    "a trailing comma": ("x.json", b'[{},\n]', ["x.json:2: broken JSON at column 1: Expecting value; nothing after"]),
    "an unclosed array": ("x.json", b'[{}\n', ["x.json:2: broken JSON at column 1: the end of the file where ','"]),
    "an unclosed string": ("x.json", b'[{}, {"a', ["x.json:1: broken JSON at column 7: Unterminated string"]),
    "a name that is no string": ("x.json", b"{1: []}", ["x.json:1: broken JSON at column 2: '1' where '\"' should"]),
    "text after the array": ("x.json", b"[]\n[]", ["x.json:2: text follows the end of the JSON document;"]),
    "nesting without end": ("x.json", b"[" * 100_000, ["x.json:1: broken JSON: a number is too long or objects are"]),
    "Latin-1 in JSON": ("x.json", b'[{"q": "\xe9"}]', ["x.json: byte 9 of the file is not UTF-8; save the file"]),
    # text
    "Latin-1 in a document": ("x.txt", b"caf\xe9", ["x.txt: byte 4 is not UTF-8; save the file as UTF-8"]),
    "UTF-16 in a document": ("x.txt", "One.".encode("utf-16"), ["x.txt: the file is UTF-16; save it as UTF-8"]),
    # CSV and TSV
    "ragged records": (
        "x.csv", b'q,a\n1\n1,2,3\n1,2\n',
        [
            "x.csv:2: it has 1 cell where the header has 2; add what is missing",
            "x.csv:3: it has 3 cells where the header has 2; add what is missing",
        ],
    ),
    "a name twice": ("x.csv", b"q,a,q\n", ["x.csv:1: two columns of the header are named 'q'; rename one"]),
    "an index column": ("x.csv", b",q,a\n0,1,2\n", ["x.csv:1: column 1 of the header has no name; name it or remove"]),
    "a header in line 3": ("x.csv", b"\n\nq,\n", ["x.csv:3: column 2 of the header has no name"]),
    "semicolons": ("x.csv", b"q;a\n1;2\n", ["x.csv:1: the cells are separated by ';', not by ','; use commas in .csv"]),
    "commas in TSV": ("x.tsv", b"q,a\n1,2\n", ["x.tsv:1: the cells are separated by ',', not by '\\t'; use commas"]),
    "an unclosed quote": (
        "x.csv", b'q,a\n1,2\n"1,2\n1,2\n', ["x.csv:3: a quoted cell is never closed; nothing after it was read; put"]
    ),
    "a quote not doubled": (
        "x.csv", b'q,a\n"say "hi"",2\n', ["x.csv:2: text follows a closing quote; nothing after it was read; put the"]
    ),
    "old line ends": ("x.csv", b"q,a\r1,2\r", ["x.csv:1: a carriage return stands alone, in a cell or as a line end"]),
    "a header repeated": ("x.csv", b"q,a\n1,2\nq,a\n", ["x.csv:3: it repeats the header; remove it; files joined"]),
    "Latin-1 in a record of two lines": (
        "x.csv", b'q,a\n"\n\xe9",2\n1,\xe9\n',
        [
            "x.csv:2: byte 1 of line 3 is not UTF-8; save the file as UTF-8 (in Excel: \"CSV UTF-8\")",
            "x.csv:4: byte 3 of line 4 is not UTF-8; save the file as UTF-8 (in Excel: \"CSV UTF-8\")",
        ],
    ),
    "Latin-1 in the header": ("x.csv", b"q,\xe9\n1,2\n", ["x.csv:1: byte 3 of line 1 is not UTF-8; save the file"]),
    # packed
    "gzip cut off": ("x.csv.gz", gzip.compress(b"q,a\n")[:-9], ["x.csv.gz: the gzip file ends too early; check"]),
    "zstd cut off": ("x.csv.zst", zstd.compress(b"q,a\n")[:-1], ["x.csv.zst: the zstd file ends too early; check"]),
    "gzip of zero bytes": ("x.csv.gz", b"", ["x.csv.gz: the gzip file ends too early"]),
    "zstd of zero bytes": ("x.csv.zst", b"", ["x.csv.zst: the zstd file ends too early"]),
    "gzip of another sum": (
        "x.csv.gz", gzip.compress(b"q,a\n")[:-8] + bytes(8), ["x.csv.gz: the file is damaged or no gzip: CRC check"]
    ),
    "no gzip": ("x.csv.gz", b"q,a\n1,2\n", ["x.csv.gz: the file is damaged or no gzip: Not a gzipped file"]),
    "no zstd": ("x.csv.zst", b"q,a\n1,2\n", ["x.csv.zst: the file is damaged or no zstd: Unable to decompress"]),
    # Parquet
    "no Parquet": ("x.parquet", b"q,a\n1,2\n", ["x.parquet: the file is damaged or no Parquet: Parquet magic bytes"]),
    "Parquet of zero bytes": ("x.parquet", b"", ["x.parquet: the file is damaged or no Parquet: Parquet file size"]),
    "Parquet cut off": ("x.parquet", as_parquet([Q_A])[:-20], ["x.parquet: the file is damaged or no Parquet: "]),
    "a damaged page": ("x.parquet", bytes(DAMAGED), ["x.parquet: the file is damaged or no Parquet: "]),
    "two columns of one name": (
        "x.parquet", as_parquet(pa.table([["1"], ["2"]], names=["q", "q"])),
        ["x.parquet: two columns are named 'q'; rename one"],
    ),
    "a value Python has not": (
        "x.parquet", as_parquet(pa.table({"q": pa.array([0, 2**62], pa.timestamp("us"))})),
        ["x.parquet row 2: a value cannot be read: "],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REPORTED)
def test_it_is_reported_with_place_and_remedy(tmp_path: Path, name: str) -> None:
    file, content, expected = REPORTED[name]
    _, shown = read(tmp_path, file, content)
    assert len(shown) == len(expected), shown
    for line, start in zip(shown, expected, strict=True):
        assert line.startswith(start)
        assert "; " in line, "the remedy follows the problem"


def test_rows_around_a_bad_one_are_read_so_that_all_bad_ones_are_found(tmp_path: Path) -> None:
    rows, shown = read(tmp_path, "x.json", b'[{"q": "1", "a": "2"}, 7, {"q": "1", "a": "2"}]')
    assert [place for place, _ in rows] == ["x.json[0]", "x.json[2]"]
    assert len(shown) == 1


SMALL = Limits(row_bytes=1000, unpacked_bytes=20_000, unpacked_ratio=10)
LONG = "x" * 5000
TOO_LONG = {
    "x.jsonl": (
        b'{"q": "1"}\n{"q": "' + LONG.encode() + b'"}\n{}\n',
        "x.jsonl:2: the row is longer than 1,000",
    ),
    "x.csv": (b'q,a\n1,2\n"' + b"\n".join([b"y" * 90] * 100) + b'",2\n', "x.csv:3: the row is longer than 1,000"),
    "x.json": (b'[{"q": "1"},\n{"q": "' + LONG.encode() + b'"}]', "x.json:2: the row is longer than 1,000"),
    "x.parquet": (as_parquet([{"q": "1"}, {"q": LONG}]), "x.parquet row 2: the row is longer than 1,000"),
}


@pytest.mark.parametrize("name", TOO_LONG)
def test_a_row_without_end_is_named_and_not_held(tmp_path: Path, name: str) -> None:
    content, expected = TOO_LONG[name]
    rows, shown = read(tmp_path, name, content, SMALL)
    assert len(rows) == 1
    assert [line.startswith(expected) for line in shown] == [True], shown


BOMBS = {
    "x.jsonl.gz": gzip.compress(b'{"q": "1"}\n' * 50_000),
    "x.jsonl.zst": zstd.compress(b'{"q": "1"}\n' * 50_000),
    "x.parquet": as_parquet([{"q": "y" * 500}] * 2000),
    "nothing.parquet": as_parquet(pa.table({"q": pa.nulls(50_000)})),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_small_file_that_unpacks_without_end_is_refused_early(tmp_path: Path, name: str) -> None:
    rows, shown = read(tmp_path, name, BOMBS[name], SMALL)
    limit = SMALL.unpacked(len(BOMBS[name]))
    assert sum(len(json.dumps(row)) for _, row in rows) <= limit
    assert f"the file unpacks to more than {limit:,} bytes" in shown[0]


def test_categories_are_measured_by_their_rows_not_by_the_dictionary_they_share(tmp_path: Path) -> None:
    texts = [f"{number:04} " * 20 for number in range(60)]
    content = as_parquet(pa.table({"q": pa.array(texts).dictionary_encode()}))
    rows, shown = read(tmp_path, "x.parquet", content, SMALL)
    assert (len(rows), shown) == (60, [])


def test_only_a_window_of_a_long_json_document_is_held(tmp_path: Path) -> None:
    """Rows of every length around the window's edge come out as they went in."""
    draw = random.Random(0)
    rows = [{"q": "é\\\n\U0001f600" * draw.randrange(60), "n": draw.random()} for _ in range(3000)]
    for ascii_only in (True, False):
        document = json.dumps({"rows": rows}, indent=1, ensure_ascii=ascii_only).encode()
        found, shown = read(tmp_path, "x.json", document, Limits(row_bytes=4096))
        assert shown == []
        assert [row for _, row in found] == rows


def test_an_error_deep_in_a_long_document_has_its_line_and_column(tmp_path: Path) -> None:
    document = b"[\n" + b'{"q": "1"},\n' * 20_000 + b'   {"q" "1"}]'
    _, shown = read(tmp_path, "x.json", document)
    assert [line[:55] for line in shown] == ["x.json:20002: broken JSON at column 9: Expecting ':' de"]


@pytest.mark.parametrize(
    ("name", "is_data", "is_suspicious"),
    [
        ("a.jsonl", True, False), ("A.JSON.GZ", True, False), ("b.v2.csv.zst", True, False), ("c.parquet", True, False),
        ("a.jsonl.bz2", False, True), ("c.parquet.zst", False, True), ("t.tsv.zip", False, True),
        ("readme.md", False, False), ("_SUCCESS", False, False), ("a.jsonl.sha256", False, False),
        ("model.tar.gz", False, False), (".jsonl", False, False), ("a.txt", True, False),
    ],
)  # fmt: skip
def test_data_files_are_known_by_name(name: str, is_data: bool, is_suspicious: bool) -> None:
    assert (is_data_file(name), looks_like_data(name)) == (is_data, is_suspicious)


def test_pyarrow_is_imported_for_parquet_alone(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text("{}\n")
    code = (
        "import sys; from pathlib import Path; from finetune_trainer.data.read import read_rows;"
        "from finetune_trainer.data.problems import Problems;"
        f"list(read_rows('x.jsonl', Path({str(tmp_path / 'x.jsonl')!r}), Problems())); print('pyarrow' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"


@pytest.mark.parametrize("name", ["x.txt", "x.txt.gz"])
def test_a_document_longer_than_a_row_may_be_is_reported(tmp_path: Path, name: str) -> None:
    content = b"a" * 101
    packed = gzip.compress(content) if name.endswith(".gz") else content
    rows, shown = read(tmp_path, name, packed, Limits(row_bytes=100))
    assert rows == []
    assert shown == [f"{name}: the document is longer than 100 bytes; cut it into several files"]
