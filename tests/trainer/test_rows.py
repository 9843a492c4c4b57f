"""Rows of every objective: which columns are taken, and what is said of those that cannot be used."""

import pytest

from finetune_api.spec.data import Columns
from finetune_api.spec.training import Classification
from finetune_trainer.data.instruction import parse_conversation, parse_pair
from finetune_trainer.data.problems import RowError, Source
from finetune_trainer.data.rows import Conversation, Labelled, Pair, Text, Turn
from finetune_trainer.data.shapes.labelled import LabelParser
from finetune_trainer.data.shapes.text import parse_text

SOURCE = Source("train.jsonl", 1)
ASKED = (Turn("user", "q"),)
LABELS = Classification(labels=["positive", "negative", "0", "1"]).labels


def turns(*said: tuple[str, object]) -> list[dict[str, object]]:
    return [{"role": role, "content": content} for role, content in said]


def parse_label(raw, columns, source):
    return LabelParser(LABELS).parse(raw, columns, source)


CONVERSATIONS = {
    "input and output": ({"input": "q", "output": "a"}, None),
    "question and answer": ({"question": "q", "answer": "a"}, None),
    "an input column that is the instruction by name": ({"input": "q", "answer": "a"}, Columns(instruction="input")),
    "a weight of null": ({"messages": [*turns(("user", "q")), {**turns(("assistant", "a"))[0], "weight": None}]}, None),
}


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_an_exchange_is_recognised(name):
    raw, columns = CONVERSATIONS[name]
    assert parse_conversation(raw, columns, SOURCE).turns == (*ASKED, Turn("assistant", "a"))


def test_input_and_output_are_context_and_answer_where_there_is_an_instruction():
    row = parse_conversation({"instruction": "q", "input": "i", "output": "a"}, None, SOURCE)
    assert row.turns == (Turn("user", "q", "i"), Turn("assistant", "a"))


def test_an_assistant_turn_has_a_weight():
    messages = turns(("user", "q"), ("assistant", "a"), ("user", "r"), ("assistant", "b"))
    messages[1]["weight"] = 0
    messages[3]["weight"] = 0.5
    row = parse_conversation({"messages": messages}, None, SOURCE)
    assert [turn.weight for turn in row.turns] == [1, 0, 1, 0.5]


PAIRS = {
    "text beside a prompt": ({"prompt": "q", "chosen": "good", "rejected": "bad"}, None),
    "turns that share the prompt": (
        {
            "chosen": turns(("user", "q"), ("assistant", "good")),
            "rejected": turns(("user", "q"), ("assistant", "bad")),
        },
        None,
    ),
    "turns that repeat the prompt column": (
        {
            "prompt": "q",
            "chosen": turns(("user", "q"), ("assistant", "good")),
            "rejected": turns(("user", "q"), ("assistant", "bad")),
        },
        None,
    ),
    "prompt and answers as turns": (
        {
            "prompt": turns(("user", "q")),
            "chosen": turns(("assistant", "good")),
            "rejected": turns(("assistant", "bad")),
        },
        None,
    ),
    "columns named": (
        {"ask": "q", "win": "good", "lose": "bad"},
        Columns(instruction="ask", chosen="win", rejected="lose"),
    ),
}


@pytest.mark.parametrize("name", PAIRS)
def test_a_pair_is_recognised(name):
    raw, columns = PAIRS[name]
    assert parse_pair(raw, columns, SOURCE) == Pair(ASKED, "good", "bad", SOURCE)


def test_a_pair_of_long_conversations_shares_all_but_the_last_turn():
    shared = (("system", "s"), ("user", "q"), ("assistant", "a"), ("user", "r"))
    raw = {side: turns(*shared, ("assistant", side)) for side in ("chosen", "rejected")}
    row = parse_pair(raw, None, SOURCE)
    assert [(turn.role, turn.content) for turn in row.prompt] == list(shared)
    assert (row.chosen, row.rejected) == ("chosen", "rejected")


LABELLED = {
    "text and label": ({"text": "t", "label": "positive"}, None, "positive"),
    "sentence and category": ({"sentence": "t", "category": "negative"}, None, "negative"),
    "review and class": ({"review": "t", "class": "negative"}, None, "negative"),
    "a whole number that is a label": ({"text": "t", "label": 1}, None, "1"),
    "columns named": ({"t": "t", "l": "positive"}, Columns(text="t", label="l"), "positive"),
}


@pytest.mark.parametrize("name", LABELLED)
def test_a_labelled_text_is_recognised(name):
    raw, columns, label = LABELLED[name]
    assert parse_label(raw, columns, SOURCE) == Labelled("t", label, SOURCE)


def test_raw_text_is_its_own_column_whatever_it_is_called():
    assert parse_text({"text": " t\n", "id": 7}, None, SOURCE) == Text(" t\n", SOURCE)
    assert parse_text({"body": "t"}, Columns(text="body"), SOURCE) == Text("t", SOURCE)


BAD = {
    "raw text for sft": (
        parse_conversation,
        {"text": "t"},
        ("only raw text in 'text'", "continued-pretraining"),
    ),
    "two system turns": (
        parse_conversation,
        {"messages": turns(("system", "s"), ("system", "s"), ("user", "q"), ("assistant", "a"))},
        ("system turn that is not the first", "move it"),
    ),
    "an assistant that speaks first": (
        parse_conversation,
        {"messages": turns(("assistant", "a"), ("user", "q"), ("assistant", "a"))},
        ("does not alternate", "let the user speak first"),
    ),
    "a role that is an object": (
        parse_conversation,
        {"messages": [{"role": {}, "content": "a"}]},
        ("'messages[0].role' is {}, not a known role", "use one of system, user"),
    ),
    "a role of a million letters": (
        parse_conversation,
        {"messages": turns(("x" * 1_000_000, "a"))},
        ("xxx..., not a known role", "use one of"),
    ),
    "a weight above 1": (
        parse_conversation,
        {"messages": [*turns(("user", "q")), {"role": "assistant", "content": "a", "weight": 2}]},
        ("'messages[1].weight' is 2", "from 0 to 1"),
    ),
    "a weight that is no number": (
        parse_conversation,
        {"messages": [*turns(("user", "q")), {"role": "assistant", "content": "a", "weight": True}]},
        ("'messages[1].weight' is True", "from 0 to 1"),
    ),
    "a weight on a question": (
        parse_conversation,
        {"messages": [{"role": "user", "content": "q", "weight": 1}, *turns(("assistant", "a"))]},
        ("'messages[0].weight' is on a user turn", "remove it"),
    ),
    "only weights of 0": (
        parse_conversation,
        {"messages": [*turns(("user", "q")), {"role": "assistant", "content": "a", "weight": 0}]},
        ("every assistant turn of field 'messages' has weight 0", "above 0"),
    ),
    "a tool call": (
        parse_conversation,
        {"messages": [*turns(("user", "q")), {"role": "assistant", "content": "a", "tool_calls": [{"id": "1"}]}]},
        ("'messages[1].tool_calls' is not learnt from", "write it into 'content'"),
    ),
    "reasoning apart from the answer": (
        parse_conversation,
        {"messages": [*turns(("user", "q")), {"role": "assistant", "content": "a", "reasoning_content": "r"}]},
        ("'messages[1].reasoning_content' is not learnt from", "write it into 'content'"),
    ),
    "no text": (parse_text, {"prompt": "q", "answer": "a"}, ("no column for text (text)", "set objective.type to sft")),
    "white space for text": (parse_text, {"text": " \n"}, ("field 'text' is empty", "remove the row")),
    "a label outside the set": (
        parse_label,
        {"text": "t", "label": "Positiv"},
        ("'Positiv', which is not in objective.classification.labels (positive, negative", "did you mean 'positive'?"),
    ),
    "a label like no other": (
        parse_label,
        {"text": "t", "label": "blue"},
        ("'blue', which is not in", "correct it, or add it to the labels"),
    ),
    "a number outside the set": (parse_label, {"text": "t", "label": 2}, ("'label' is 2, which is not in", "")),
    "a label of null": (parse_label, {"text": "t", "label": None}, ("'label' is null, not a label", "write one of")),
    "a boolean for a label": (parse_label, {"text": "t", "label": True}, ("'label' is a boolean", "write one of")),
    "two texts to classify": (
        parse_label,
        {"text": "t", "review": "r", "label": "positive"},
        ("'text' and 'review' could each be the text", "columns.text"),
    ),
    "no label": (parse_label, {"text": "t"}, ("no column for the label (label, category, class)", "columns")),
    "equal answers": (
        parse_pair,
        {"prompt": "q", "chosen": "a", "rejected": " a\n"},
        ("'chosen' and 'rejected' are the same answer", "which is better"),
    ),
    "no rejected answer": (
        parse_pair,
        {"prompt": "q", "chosen": "a"},
        ("no column for the other answer (rejected)", "columns"),
    ),
    "no prompt": (parse_pair, {"chosen": "a", "rejected": "b"}, ("no column for the prompt", "columns")),
    "answers to different prompts": (
        parse_pair,
        {
            "chosen": turns(("user", "q"), ("assistant", "a")),
            "rejected": turns(("user", "r"), ("assistant", "b")),
        },
        ("'chosen' and 'rejected' part before their last turns", "share every turn but the last"),
    ),
    "a prompt column that says something else": (
        parse_pair,
        {
            "prompt": "r",
            "chosen": turns(("user", "q"), ("assistant", "a")),
            "rejected": turns(("user", "q"), ("assistant", "b")),
        },
        ("'prompt' is not the prompt that 'chosen' begins with", "make them equal"),
    ),
    "an answer that ends with a question": (
        parse_pair,
        {"prompt": "q", "chosen": turns(("user", "q")), "rejected": "b"},
        ("'chosen' does not end with an assistant turn", "end it with the answer"),
    ),
    "an answer that is an empty list": (
        parse_pair,
        {"prompt": "q", "chosen": [], "rejected": "b"},
        ("'chosen' does not end with an assistant turn", "end it"),
    ),
    "an answer that is a number": (
        parse_pair,
        {"prompt": "q", "chosen": 1, "rejected": "b"},
        ("'chosen' is a number, neither a string nor an array", "write the answer"),
    ),
    "a prompt that ends with an answer": (
        parse_pair,
        {"prompt": turns(("user", "q"), ("assistant", "a")), "chosen": "a", "rejected": "b"},
        ("does not end with a user turn", "end it with what is asked"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_row_that_cannot_be_used_says_which_field_and_what_to_do(name):
    parse, raw, (problem, remedy) = BAD[name]
    with pytest.raises(RowError) as caught:
        parse(raw, None, SOURCE)
    assert problem in caught.value.problem
    assert remedy in caught.value.remedy
    assert len(str(caught.value)) < 500


ELSEWHERE = Source("other.jsonl", 9)
ROWS = [
    lambda text, source: Conversation((Turn("user", text), Turn("assistant", "a")), source),
    Text,
    lambda text, source: Labelled(text, "positive", source),
    lambda text, source: Pair((Turn("user", text),), "a", "b", source),
]


@pytest.mark.parametrize("make", ROWS)
def test_equal_rows_in_different_places_have_equal_digests(make):
    assert make("q", SOURCE).digest() == make("q", ELSEWHERE).digest()
    assert make("q", SOURCE).digest() != make("r", SOURCE).digest()
    assert len(make("q", SOURCE).digest()) >= 16


@pytest.mark.parametrize("make", ROWS)
def test_a_row_tells_all_its_texts(make):
    assert "q" in make("q", SOURCE).texts()


def test_the_other_answer_and_the_label_are_part_of_a_row_s_content():
    assert Pair(ASKED, "a", "b", SOURCE).digest() != Pair(ASKED, "b", "a", SOURCE).digest()
    assert Labelled("t", "0", SOURCE).digest() != Labelled("t", "1", SOURCE).digest()
