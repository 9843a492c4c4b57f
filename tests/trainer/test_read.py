"""Bad data is named by file and line, with what to do."""

import codecs
import json
from pathlib import Path

import pytest

from finetune_api.spec.data import Columns
from finetune_trainer.data.instruction import parse_conversation
from finetune_trainer.data.problems import Problems, RowError, Source
from finetune_trainer.data.read import read_rows
from finetune_trainer.data.rows import Turn

GOOD = b'{"instruction": "a", "response": "b"}\n'
SOURCE = Source("train.jsonl", 1)

BAD_LINES = {
    "broken JSON": (b'{"instruction": "a"', "broken JSON"),
    "a JSON array over several lines": (b"[\n", "without the surrounding [ ]"),
    "a row that is no object": (b'["a"]', "an array, not an object"),
    "a byte order mark": (codecs.BOM_UTF8 + GOOD, "byte order mark"),
    "Latin-1": ('{"instruction": "é"}'.encode("latin-1"), "is not UTF-8"),
    "a number of ten thousand digits": (b'{"instruction": ' + b"9" * 10_000 + b"}", "too long"),
    "nesting without end": (b"[" * 100_000, "nested too deep"),
}


@pytest.mark.parametrize("name", BAD_LINES)
def test_a_bad_line_is_named_by_file_and_line(tmp_path: Path, name: str) -> None:
    line, expected = BAD_LINES[name]
    path = tmp_path / "rows.jsonl"
    path.write_bytes(GOOD + b"\n" + line)
    problems = Problems()
    good = list(read_rows("s3://b/rows.jsonl", path, problems))
    assert [str(source) for source, _ in good] == ["s3://b/rows.jsonl:1"]
    (shown,) = problems.shown
    assert shown.startswith("s3://b/rows.jsonl:3: ")
    assert expected in shown


def test_a_utf_16_file_is_one_problem_not_one_per_line(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes((GOOD.decode() * 5).encode("utf-16"))
    problems = Problems()
    assert list(read_rows("rows.jsonl", path, problems)) == []
    assert problems.total == 1
    assert "UTF-16" in problems.shown[0]


def test_unicode_line_ends_inside_text_do_not_end_a_row(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"response": "a\u2028b\x0bc"}, ensure_ascii=False) + "\r\n")
    problems = Problems()
    assert [raw["response"] for _, raw in read_rows("rows.jsonl", path, problems)] == ["a\u2028b\x0bc"]


def chat(*turns: tuple[str, object]) -> dict[str, object]:
    return {"messages": [{"role": role, "content": content} for role, content in turns]}


BAD_ROWS = {
    "no answer": ({"prompt": "a"}, "no column for an answer (response, completion, answer, output)"),
    "no instruction": ({"answer": "a"}, "no column for an instruction"),
    "null answer": ({"prompt": "a", "answer": None}, "field 'answer' is null, not a string"),
    "empty answer": ({"prompt": "a", "answer": " \n"}, "field 'answer' is empty"),
    "number as answer": ({"prompt": "a", "answer": 7}, "field 'answer' is a number, not a string"),
    "boolean as input": ({"prompt": "a", "input": True, "answer": "b"}, "field 'input' is a boolean"),
    "two answers": (
        {"prompt": "a", "answer": "b", "output": "c"},
        "'answer' and 'output' could each be the response",
    ),
    "two shapes at once": (
        {**chat(("user", "a"), ("assistant", "b")), "answer": "c"},
        "both 'messages' and 'answer'",
    ),
    "half a surrogate": ({"prompt": "\ud800", "answer": "b"}, "half a surrogate pair"),
    "messages that are no list": ({"messages": "hello"}, "field 'messages' is a string, not an array"),
    "a turn that is no object": ({"messages": ["hello"]}, "field 'messages[0]' is a string, not an object"),
    "an unknown role": (
        chat(("user", "a"), ("robot", "b")),
        "'messages[1].role' is 'robot', not a known role",
    ),
    "no assistant turn": (chat(("user", "a")), "no assistant turn"),
    "an empty conversation": (chat(), "no assistant turn"),
    "a question at the end": (
        chat(("user", "a"), ("assistant", "b"), ("user", "c")),
        "ends with a user turn",
    ),
    "an empty assistant turn": (chat(("user", "a"), ("assistant", "")), "'messages[1].content' is empty"),
    "a tool call without text": (chat(("user", "a"), ("assistant", None)), "'messages[1].content' is null"),
    "a late system turn": (
        chat(("user", "a"), ("system", "s"), ("assistant", "b")),
        "system turn that is not the first",
    ),
    "two user turns in a row": (chat(("user", "a"), ("user", "b"), ("assistant", "c")), "does not alternate"),
}


@pytest.mark.parametrize("name", BAD_ROWS)
def test_a_row_that_cannot_be_used_says_which_field_and_why(name: str) -> None:
    raw, expected = BAD_ROWS[name]
    with pytest.raises(RowError) as caught:
        parse_conversation(raw, None, SOURCE)
    assert expected in str(caught.value)
    assert "; " in str(caught.value), "the remedy follows the problem"


EXCHANGE = (Turn("user", "q"), Turn("assistant", "a"))
GOOD_ROWS = {
    "Alpaca": ({"instruction": "q", "input": "", "output": "a"}, None, EXCHANGE),
    "Alpaca with input": (
        {"instruction": "q", "input": "i", "output": "a"}, None, (Turn("user", "q", "i"), Turn("assistant", "a"))
    ),
    "prompt and completion": ({"prompt": "q", "completion": "a", "id": 7}, None, EXCHANGE),
    "chat": (chat(("user", "q"), ("assistant", "a")), None, EXCHANGE),
    "ShareGPT": (
        {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]}, None, EXCHANGE
    ),
    "columns named": ({"ask": "q", "say": "a"}, Columns(instruction="ask", response="say"), EXCHANGE),
    "a named column settles which": (
        {"prompt": "q", "answer": "x", "output": "a"}, Columns(response="output"), EXCHANGE
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", GOOD_ROWS)
def test_the_usual_shapes_of_instruction_data_are_recognised(name: str) -> None:
    raw, columns, expected = GOOD_ROWS[name]
    assert parse_conversation(raw, columns, SOURCE).turns == expected


def test_a_named_column_that_is_missing_is_not_replaced_by_a_recognised_one() -> None:
    with pytest.raises(RowError, match="'solution'"):
        parse_conversation({"prompt": "q", "answer": "a"}, Columns(response="solution"), SOURCE)
