"""Broken data sets, each with the line of the report that a user must see.

The contents are made here, so that no broken or binary file lies in the repository. `{train}` and `{test}` in an
expected line stand for the URIs that the files were uploaded to.
"""

import codecs
import gzip
import io
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import pyarrow as pa
from backports import zstd
from pyarrow import parquet

from finetune_api.conditions import Reason

Sections = dict[str, dict[str, Any]]

CLASSIFY: Final[Sections] = {
    "objective": {"type": "classification", "classification": {"labels": ["good", "bad"]}},
    "evaluation": {"metrics": [], "fewShot": 0},
}
PREFER: Final[Sections] = {"objective": {"type": "preference"}, "evaluation": {"metrics": [], "fewShot": 0}}
DOMAIN: Final[Sections] = {"objective": {"type": "continued-pretraining"}, "evaluation": {"metrics": [], "fewShot": 0}}


@dataclass(frozen=True)
class Broken:
    """One data set that must be refused, or that must be spoken about."""

    train: bytes | Callable[[], bytes]
    expected: str
    """A line of the failure's message; for a job that passes, of the data report."""
    name: str = "train.jsonl"
    """File name of the training data."""
    reason: Reason | None = Reason.DATASET_INVALID
    """None: the job passes, and the data report speaks of it."""
    test: bytes | None = None
    """Test rows; by default good ones for the objective."""
    sections: Sections = field(default_factory=dict)

    def content(self) -> bytes:
        """The training file."""
        return self.train() if callable(self.train) else self.train


def row(question: Any = "How much?", answer: Any = "Ten.", **more: Any) -> dict[str, Any]:
    """A good instruction row, unless an argument spoils it."""
    return {"instruction": question, "response": answer} | more


def lines(*rows: Any) -> bytes:
    """JSON Lines; a string stands as it is."""
    return b"".join((each if isinstance(each, str) else json.dumps(each)).encode() + b"\n" for each in rows)


def chat(*turns: tuple[str, Any]) -> bytes:
    """A good row, then one with these turns."""
    messages = [{"role": role, "content": content} for role, content in turns]
    return lines(
        {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}, {"messages": messages}
    )


def table(rows: list[dict[str, Any]], **options: Any) -> bytes:
    """Rows as Parquet."""
    buffer = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist(rows), buffer, **options)
    return buffer.getvalue()


def corrupt_table() -> bytes:
    """Parquet whose pages were overwritten and whose footer was not."""
    content = bytearray(table([row(f"q{n}", f"a{n}") for n in range(400)], compression="gzip"))
    content[10:80] = b"\xff" * 70
    return bytes(content)


def bomb() -> bytes:
    """A few hundred kilobytes that unpack to hundreds of megabytes of good rows, each with megabytes of blanks."""
    padded = json.dumps(row()).replace(", ", "," + " " * (16 << 20)).encode() + b"\n"
    return gzip.compress(padded) * 18


def long_line() -> bytes:
    """A line of 10 MB: legal JSON, but no answer to learn."""
    return lines(row(), row(answer="very " * 2_000_000))


def endless_line() -> bytes:
    """A line that is longer than any row may be: its line ends are missing."""
    return lines(row()) + b'{"instruction": "' + b"x" * (33 << 20)


def good_rows(objective: str) -> bytes:
    """Test rows that suit an objective, none of them in any training file here."""
    if objective == "classification":
        return lines(*({"text": f"test {n}", "label": ("good", "bad")[n % 2]} for n in range(4)))
    if objective in ("preference", "reward"):
        return lines(*({"prompt": f"test {n}", "chosen": "yes", "rejected": "no"} for n in range(4)))
    if objective == "continued-pretraining":
        return lines(*({"text": f"A text to test on, number {n}."} for n in range(4)))
    return lines(*(row(f"test {n}", f"answer {n}") for n in range(4)))


JSON_FAULTS: Final[dict[str, Broken]] = {
    "bad JSON": Broken(
        lines(row(), '{"instruction": "half a row'),
        "{train}:2: broken JSON at column 17: Unterminated string starting at; write one complete JSON object per line",
    ),
    "two objects on a line": Broken(
        lines(row(), json.dumps(row("a")) + json.dumps(row("b"))), "{train}:2: broken JSON at column"
    ),
    "an array on a line": Broken(lines(row(), [row()]), "{train}:2: it holds an array, not an object"),
    "one JSON document in .jsonl": Broken(
        json.dumps([row(), row("b")], indent=1).encode(),
        "{train}:1: the file is one JSON document, not JSON Lines; let its name end in .json",
    ),
    "duplicate keys": Broken(
        lines(row(), '{"instruction": "a", "response": "b", "response": "c"}'),
        "{train}:2: the key 'response' stands twice in one object; keep the one that is meant",
    ),
    "NaN for a value": Broken(lines(row(), '{"instruction": "a", "response": NaN}'), "{train}:2: NaN is not JSON"),
    "nested too deep": Broken(
        lines(row(), "[" * 100_000), "{train}:2: broken JSON: a number is too long or objects are nested too deep"
    ),
    "half a surrogate pair": Broken(
        lines(row(), '{"instruction": "a", "response": "\\ud83d"}'), "{train}:2: field 'response' has half a surrogate"
    ),
    "a 10 MB line": Broken(long_line, "{train}:2: the answer has "),
    "a line without end": Broken(endless_line, "{train}:2: the row is longer than 33,554,432 bytes"),
    "a JSON object without an array": Broken(
        json.dumps(row()).encode(), "{train}: the file is one object without an array in it", name="train.json"
    ),
    "a JSON array cut off": Broken(
        json.dumps([row(), row("b")]).encode()[:-9], "{train}:1: broken JSON at column", name="train.json"
    ),
    "two arrays in one object": Broken(
        json.dumps({"train": [row()], "test": [row("b")]}).encode(),
        "{train}:1: the file has two arrays, 'train' and 'test'; put each into its own file",
        name="train.json",
    ),
    "JSON Lines in .json": Broken(
        lines(row(), row("b")),
        "{train}: the file holds one object after the other; let its name end in .jsonl",
        name="train.json",
    ),
}

ENCODING_FAULTS: Final[dict[str, Broken]] = {
    "byte order mark": Broken(
        codecs.BOM_UTF8 + lines(row()), "{train}:1: the line starts with a byte order mark; save the file as UTF-8"
    ),
    "UTF-16": Broken(
        lines(row()).decode().encode("utf-16"),
        "{train}: the file is UTF-16; save it as UTF-8 without a byte order mark",
    ),
    "UTF-16 without a mark": Broken(
        lines(row()).decode().encode("utf-16-le"), "{train}: the file is binary, or UTF-16 without a byte order mark"
    ),
    "Latin-1": Broken(
        lines(row()) + '{"instruction": "caf\xe9", "response": "b"}\n'.encode("latin-1"),
        "{train}:2: byte 21 is not UTF-8; save the file as UTF-8",
    ),
    "Latin-1 in a text file": Broken(
        "caf\xe9".encode("latin-1"),
        "{train}: byte 4 is not UTF-8; save the file as UTF-8",
        name="train.txt",
        sections=DOMAIN,
    ),
}

TABLE_FAULTS: Final[dict[str, Broken]] = {
    "ragged CSV": Broken(
        b"instruction,response\na,b\nc,d,e\n", "{train}:3: it has 3 cells where the header has 2", name="train.csv"
    ),
    "semicolons in CSV": Broken(
        b"instruction;response\na;b\n", "{train}:1: the cells are separated by ';', not by ','", name="train.csv"
    ),
    "header in the middle of CSV": Broken(
        b"instruction,response\na,b\ninstruction,response\n", "{train}:3: it repeats the header", name="train.csv"
    ),
    "unclosed quote in CSV": Broken(
        b'instruction,response\na,b\n"c,d\ne,f\n', "{train}:3: a quoted cell is never closed", name="train.csv"
    ),
    "a column twice in CSV": Broken(
        b"response,response\na,b\n", "{train}:1: two columns of the header are named 'response'", name="train.csv"
    ),
    "a column without a name": Broken(
        b",instruction,response\n0,a,b\n", "{train}:1: column 1 of the header has no name", name="train.csv"
    ),
    "an empty cell in TSV": Broken(
        b"instruction\tresponse\na\tb\nc\t\n", "{train}:3: field 'response' is empty", name="train.tsv"
    ),
    "corrupt Parquet": Broken(corrupt_table, "{train}: the file is damaged or no Parquet", name="train.parquet"),
    "Parquet cut off": Broken(table([row()])[:-20], "{train}: the file is damaged or no Parquet", name="train.parquet"),
    "null in Parquet": Broken(
        table([row(), row("b", None)]),
        "{train} row 2: field 'response' is null, not a string; write it as text in double quotes",
        name="train.parquet",
    ),
}

PACKING_FAULTS: Final[dict[str, Broken]] = {
    "gzip cut off": Broken(
        gzip.compress(lines(*(row(f"q{n}") for n in range(2000))))[:-40],
        "{train}: the gzip file ends too early; check it with `gzip -t`, pack it anew and upload it again",
        name="train.jsonl.gz",
    ),
    "zstd cut off": Broken(
        zstd.compress(lines(*(row(f"q{n}") for n in range(2000))))[:-40],
        "{train}: the zstd file ends too early",
        name="train.jsonl.zst",
    ),
    "not gzip": Broken(lines(row()), "{train}: the file is damaged or no gzip", name="train.jsonl.gz"),
    "gzip by another name": Broken(
        gzip.compress(lines(row())), "{train}: the file is packed with gzip; let its name end in .gz"
    ),
    "a compression bomb": Broken(bomb, "{train}: the file unpacks to more than ", name="train.jsonl.gz"),
    "a workbook as CSV": Broken(
        b"PK\x03\x04" + b"\0" * 60, "{train}: the file is a zip archive or a workbook", name="train.csv"
    ),
    "bzip2": Broken(lines(row()), "{train} is of no known format by its name", name="train.jsonl.bz2"),
}

ROW_FAULTS: Final[dict[str, Broken]] = {
    "mixed schemas": Broken(
        lines(row(), {"title": "a", "body": "b"}), "{train}:2: it has no column for an instruction"
    ),
    "missing column": Broken(
        lines({"instruction": "a"}), "{train}:1: it has no column for an answer (response, completion, answer, output)"
    ),
    "null": Broken(lines(row(), row(answer=None)), "{train}:2: field 'response' is null, not a string"),
    "a number for an answer": Broken(lines(row(), row(answer=10)), "{train}:2: field 'response' is a number, not a"),
    "empty answer": Broken(lines(row(), row(answer="")), "{train}:2: field 'response' is empty; fill it in or remove"),
    "blank question": Broken(lines(row(), row(question=" \n")), "{train}:2: field 'instruction' is empty"),
    "ambiguous columns": Broken(
        lines(row(), row(prompt="c")), "{train}:2: 'instruction' and 'prompt' could each be the instruction"
    ),
    "turns and an answer": Broken(
        lines(row(), {"messages": [], "response": "b"}), "{train}:2: it has both 'messages' and 'response'"
    ),
    "a mapped column that is not there": Broken(
        lines(row()),
        "{train}:1: it has no column for an instruction ('order')",
        sections={"data": {"train": [{"columns": {"instruction": "order"}}]}},
    ),
    "wrong role": Broken(chat(("user", "a"), ("tool", "b")), "{train}:2: field 'messages[1].role' is 'tool', not a"),
    "two system turns": Broken(
        chat(("system", "a"), ("system", "b"), ("user", "c"), ("assistant", "d")),
        "{train}:2: field 'messages' has a system turn that is not the first",
    ),
    "ends with the user": Broken(
        chat(("user", "a"), ("assistant", "b"), ("user", "c")), "{train}:2: field 'messages' ends with a user turn"
    ),
    "two user turns in a row": Broken(
        chat(("user", "a"), ("user", "b"), ("assistant", "c")),
        "{train}:2: field 'messages' does not alternate user and assistant turns",
    ),
    "no assistant turn": Broken(chat(("user", "a")), "{train}:2: field 'messages' has no assistant turn"),
    "no turns": Broken(chat(), "{train}:2: field 'messages' has no assistant turn"),
    "a turn without content": Broken(
        chat(("user", "a"), ("assistant", None)), "{train}:2: field 'messages[1].content'"
    ),
    "turns that are text": Broken(
        lines({"messages": "hello"}), "{train}:1: field 'messages' is a string, not an array of turns"
    ),
    "an answer longer than maxTokens": Broken(
        lines(row(), row(answer="very " * 200)), "and leaves no room for its prompt in data.maxTokens = 128"
    ),
    "an empty file": Broken(b"", "data.train: {train} holds no rows", reason=Reason.DATASET_EMPTY),
    "blank lines alone": Broken(b"\n\n\n", "data.train: {train} holds no rows", reason=Reason.DATASET_EMPTY),
    "every row is a test row": Broken(
        lines(row("test 0", "answer 0")),
        "data.train has no rows left to learn from",
        reason=Reason.DATASET_EMPTY,
    ),
}

OBJECTIVE_FAULTS: Final[dict[str, Broken]] = {
    "a label outside the set": Broken(
        lines({"text": "a", "label": "good"}, {"text": "b", "label": "godo"}),
        "{train}:2: field 'label' is 'godo', which is not in objective.classification.labels (good, bad); did you mean",
        sections=CLASSIFY,
    ),
    "a label that is not there": Broken(
        lines({"text": "a", "label": "good"}, {"text": "b"}),
        "{train}:2: it has no column for the label (label, category, class); its columns: text; add it or set",
        sections=CLASSIFY,
    ),
    "nothing to classify": Broken(
        lines({"text": "a", "label": "good"}, {"text": "", "label": "bad"}),
        "{train}:2: field 'text' is empty; fill it in or remove the row",
        sections=CLASSIFY,
    ),
    "chosen equals rejected": Broken(
        lines({"prompt": "a", "chosen": "b", "rejected": "b"}),
        "{train}:1: 'chosen' and 'rejected' are the same answer; say which is better, or remove the row",
        sections=PREFER,
    ),
    "no rejected answer": Broken(
        lines({"prompt": "a", "chosen": "b"}),
        "{train}:1: it has no column for the other answer (rejected); its columns: chosen, prompt",
        sections=PREFER,
    ),
    "pairs with different prompts": Broken(
        lines(
            {
                "chosen": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}],
                "rejected": [{"role": "user", "content": "c"}, {"role": "assistant", "content": "d"}],
            }
        ),
        "{train}:1: 'chosen' and 'rejected' part before their last turns; let them share every turn but the last",
        sections=PREFER,
    ),
    "an empty document": Broken(
        b" \n", "{train}: field 'text' is empty; fill it in or remove the row", name="train.txt", sections=DOMAIN
    ),
    "text without an answer for sft": Broken(
        lines({"text": "a"}), "{train}:1: it has only raw text in 'text': nothing says which part is the answer"
    ),
}

SPOKEN_OF: Final[dict[str, Broken]] = {
    "a test row in train": Broken(
        lines(row("test 0", "answer 0"), row("b"), row("c")), "left_out_rows: 1", reason=None
    ),
    "rows that stand twice": Broken(lines(row("a"), row("b"), row("a")), "duplicate_rows: 1", reason=None),
}

CASES: Final[dict[str, Broken]] = (
    JSON_FAULTS | ENCODING_FAULTS | TABLE_FAULTS | PACKING_FAULTS | ROW_FAULTS | OBJECTIVE_FAULTS | SPOKEN_OF
)
