"""Spec and files must fit a task of lm-eval; what does not is told before a GPU is asked for."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from science_rows import science_rows

from finetune_api.conditions import Reason
from finetune_api.spec.evaluation import Benchmark
from finetune_trainer.data.problems import Source
from finetune_trainer.errors import DataError, SettingsError
from finetune_trainer.evaluate.harness import Questions
from finetune_trainer.evaluate.task_files import SplitRows

FIELD = "spec.evaluation.benchmarks[0]"


def benchmark(name, **settings):
    return Benchmark(task=name, uri="s3://team/bench/", **settings)


def split_rows(rows, name="test"):
    return SplitRows(rows, [Source(f"s3://team/bench/{name}.jsonl", line + 1) for line in range(len(rows))])


def questions(harness, rows, *, name="arc_easy", **settings):
    task = harness.task(benchmark(name, **settings), FIELD)
    return Questions(task, {split: split_rows(rows, split) for split in task.splits})


REFUSED = {
    "a misspelt name": ("arc_esay", {}, "has no task 'arc_esay'", "Did you mean arc_easy"),
    "a group": ("mmlu", {}, "'mmlu' is a group of tasks", "mmlu_stem"),
    "a tag": ("ai2_arc", {}, "'ai2_arc' is a group of tasks", "arc_challenge, arc_easy"),
    "code that the model wrote": ("humaneval", {}, "runs code that the model wrote", "choose another"),
    "a judge with code of its own": ("ifeval", {}, "its own code judges", "choose another"),
    "perplexity": ("wikitext", {}, "its type is loglikelihood_rolling", "choose another"),
    "rows of its own": ("niah_single_1", {}, "it makes its rows itself", "choose another"),
    "a python class": ("squadv2", {}, "it is a Python class", "choose another"),
    "examples for a whole prompt": ("arc_challenge_chat", {"few_shot": 2}, "is complete without", "Set it to 0"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_task_that_cannot_be_asked_is_refused_by_its_definition(harness, case):
    name, settings, message, advice = REFUSED[case]
    with pytest.raises(SettingsError) as refusal:
        harness.task(benchmark(name, **settings), FIELD)
    assert refusal.value.message.startswith(FIELD)
    assert message in refusal.value.message
    assert advice.lower() in refusal.value.advice.lower()


def changed(line, **changes):
    """Rows with one that is another; a value of None takes the column away."""
    rows = science_rows()
    row = rows[line - 1] | changes
    rows[line - 1] = {key: value for key, value in row.items() if value is not None}
    return rows


MISFITS = {
    "a column that is called otherwise": (
        [{"id": "1", "query": "q", "choices": {"text": ["a"], "label": ["A"]}, "answerKey": "A"}],
        "s3://team/bench/test.jsonl:1: there is no column 'question', only 'answerKey', 'choices', 'id', 'query'",
    ),
    "a column missing in one row": (changed(5, answerKey=None), "test.jsonl:5: there is no column 'answerKey'"),
    "a choice without its label": (changed(7, answerKey="E"), "s3://team/bench/test.jsonl:7: ValueError"),
    "choices of another form": (
        [row | {"choices": row["choices"]["text"]} for row in science_rows()], "has no attribute 'label'"
    ),
    "columns of several types": (changed(3, answerKey=2), "Arrow"),
}  # fmt: skip


@pytest.mark.parametrize("case", MISFITS)
def test_rows_that_do_not_fit_the_task_are_refused_by_place_and_column(harness, case):
    rows, message = MISFITS[case]
    with pytest.raises(DataError) as refusal:
        questions(harness, rows)
    assert message in refusal.value.message
    assert refusal.value.reason == Reason.DATASET_INVALID
    assert "allenai/ai2_arc (ARC-Easy)" in refusal.value.advice


def test_an_answer_that_is_no_choice_is_refused_where_lm_eval_would_count_it_wrong(harness):
    rows = [{"passage": "p", "question": "q", "label": label} for label in (0, 1, 2)]
    with pytest.raises(DataError, match=r"validation\.jsonl:3: ValueError: the answer 2 is none of the 2 choices"):
        questions(harness, rows, name="boolq")


def test_a_column_that_the_task_makes_itself_need_not_be_in_the_files(harness):
    rows = HELLASWAG
    assert questions(harness, rows, name="hellaswag").name == "hellaswag"
    with pytest.raises(DataError, match=r"bench/validation\.jsonl: there is no column 'ctx_b'"):
        questions(harness, [{key: value for key, value in rows[0].items() if key != "ctx_b"}], name="hellaswag")


def test_worked_examples_need_a_split_and_enough_rows(harness):
    assert harness.task(benchmark("arc_easy"), FIELD).splits == ["test"]
    assert harness.task(benchmark("arc_easy", few_shot=3), FIELD).splits == ["test", "train"]
    with pytest.raises(DataError, match="'train' has no more rows than the 3 examples"):
        questions(harness, science_rows(0, 3), few_shot=3)


def test_only_the_first_rows_are_asked_where_the_spec_says_so(harness):
    asked = []

    class Model:
        def loglikelihood(self, requests):
            asked.extend(requests)
            return [(-1.0, False)] * len(requests)

    found = questions(harness, science_rows(), max_rows=3).score(Model())
    assert len(found) == 3
    assert {request.doc["id"] for request in asked} == {"own-0", "own-1", "own-2"}


HELLASWAG = [
    {"activity_label": "Sport", "ctx_a": "A man", "ctx_b": "runs", "ctx": "A man runs", "label": "2",
     "endings": ["home.", "up.", "in.", "out."]},
]  # fmt: skip


def test_tasks_are_prepared_where_torch_cannot_be_imported():
    program = """
import sys
sys.modules["torch"] = None
from finetune_trainer.evaluate.harness import Harness
from test_harness import *
harness = Harness()
questions(harness, science_rows(), few_shot=2)
questions(harness, HELLASWAG, name="hellaswag")
print(sys.modules["torch"], sorted({"accelerate", "peft"} & set(sys.modules)))
"""
    path = ":".join([str(Path(__file__).parent), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": path},
    )
    assert done.stdout.strip() == "None []", done.stderr[-2000:]


TEXTS = {"text": ["a hen", "a cow"], "label": ["A", "B"]}
KNOWN = {
    "arc_easy": ("acc_norm", "test", science_rows(0, 1)[0]),
    "arc_challenge": ("acc_norm", "test", science_rows(0, 1)[0]),
    "boolq": ("acc", "validation", {"passage": "A hen lays eggs.", "question": "does a hen lay eggs", "label": 1}),
    "commonsense_qa": (
        "acc", "validation",
        {"question": "q", "choices": {"text": list("abcde"), "label": list("ABCDE")}, "answerKey": "E"},
    ),
    "gsm8k": ("exact_match", "test", {"question": "What is 2 + 2?", "answer": "2 + 2 = 4\n#### 4"}),
    "hellaswag": ("acc_norm", "validation", HELLASWAG[0]),
    "lambada_openai": ("acc", "test", {"text": "The hen laid an egg"}),
    "mmlu_anatomy": ("acc", "test", {"question": "q", "choices": list("abcd"), "answer": 3}),
    "openbookqa": ("acc_norm", "test", {"question_stem": "What lays eggs?", "choices": TEXTS, "answerKey": "A"}),
    "piqa": ("acc_norm", "validation", {"goal": "To boil water,", "sol1": "heat it.", "sol2": "cool it.", "label": 0}),
    "sciq": (
        "acc_norm", "test",
        {"question": "q", "support": "s", "correct_answer": "a", **{f"distractor{n}": f"b{n}" for n in (1, 2, 3)}},
    ),
    "triviaqa": ("exact_match", "validation", {"question": "q", "answer": {"value": "a", "aliases": ["a", "b"]}}),
    "truthfulqa_mc1": (
        "acc", "validation", {"question": "q", "mc1_targets": {"choices": ["a", "b"], "labels": [1, 0]}}
    ),
    "winogrande": (
        "acc", "validation",
        {"sentence": "The hen saw the cow, for _ is big.", "option1": "hen", "option2": "cow", "answer": "2"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", KNOWN)
def test_a_task_of_the_docs_takes_rows_as_the_hub_has_them(name, harness):
    metric, split, row = KNOWN[name]
    assert harness.task(benchmark(name), FIELD).splits == [split]
    asked = questions(harness, [row] * 3, name=name)
    assert asked.metric == metric
    assert asked.higher_is_better
    docs = (Path(__file__).parents[2] / "docs/benchmarks.md").read_text()
    assert f"| `{name}` | {metric} | `{split}` |" in docs
