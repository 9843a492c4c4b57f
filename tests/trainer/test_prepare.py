"""From files to token ids and prompts, and everything that can be wrong with a data set, found before training."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from finetune_api.conditions import Reason
from finetune_api.spec.data import Data, Dataset
from finetune_api.spec.evaluation import Evaluation
from finetune_trainer.data.prepare import DatasetFiles, prepare
from finetune_trainer.data.prompts import make_prompts
from finetune_trainer.errors import DataError

TRAIN = Dataset(uri="s3://team/train.jsonl")
TEST = Dataset(uri="s3://team/test.jsonl")


def exchange(number: int, answer: str = "dog") -> dict[str, str]:
    return {"instruction": f"fox {number}?", "response": f"{answer} {number}"}


def write(path: Path, rows) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def fetched(tmp_path):
    """Rows as the data sets of a job: lists of rows become files."""

    def fetch(train, test=()):
        listed = {"test": [(TEST, [("s3://team/test.jsonl", write(tmp_path / "test.jsonl", test))])]} if test else {}
        train_file = write(tmp_path / "train.jsonl", train)
        return DatasetFiles(train=[(TRAIN, [("s3://team/train.jsonl", train_file)])], **listed)

    return fetch


def job(**changed) -> Data:
    return Data(train=[TRAIN], **changed)


def test_the_summary_counts_what_was_prepared(tokenizer, fetched):
    prepared = prepare(job(), fetched([exchange(n) for n in range(60)]), tokenizer)
    summary = prepared.summary("sha256:0")
    assert summary.train_rows + summary.validation_rows + summary.test_rows == 60
    assert summary.train_tokens == sum(item.length for item in prepared.train)
    assert summary.supervised_tokens == sum(sum(item.sequences[0].weights) for item in prepared.train)
    assert summary.longest_row == max(item.length for item in prepared.train)
    assert (summary.digest, summary.truncated_rows) == ("sha256:0", 0)


def test_preparing_twice_gives_the_same_rows(tokenizer, fetched):
    files = fetched([exchange(n) for n in range(60)])
    first, second = (prepare(job(), files, tokenizer) for _ in range(2))
    assert first.train == second.train
    assert (first.test, first.test_rows) == (second.test, second.test_rows)
    assert [item.source for item in first.test] == [row.source for row in first.test_rows]


def test_bad_rows_of_every_kind_are_reported_together(tokenizer, fetched):
    rows = [exchange(1), {"instruction": "a"}, exchange(2), {"instruction": "a", "response": 3}]
    with pytest.raises(DataError) as caught:
        prepare(job(), fetched(rows, test=[{"prompt": "a", "answer": ""}]), tokenizer)
    assert caught.value.reason == Reason.DATASET_INVALID
    first, *lines = caught.value.message.splitlines()
    assert first == "3 rows cannot be used"
    places = ["s3://team/train.jsonl:2", "s3://team/train.jsonl:4", "s3://team/test.jsonl:1"]
    assert [line.partition(": ")[0] for line in lines] == places


def test_an_answer_that_would_be_cut_off_is_named_by_file_and_line(tokenizer, fetched):
    rows = [*(exchange(n) for n in range(40)), {"instruction": "a", "response": "x" * 100}]
    with pytest.raises(DataError, match=r"s3://team/train.jsonl:41: the answer has 1\d\d tokens"):
        prepare(job(max_tokens=64), fetched(rows, test=[exchange(99)]), tokenizer)


def test_rows_that_lose_part_of_their_prompt_are_counted(tokenizer, fetched):
    rows = [exchange(1), {"instruction": "x" * 100, "response": "dog"}]
    prepared = prepare(job(max_tokens=64), fetched(rows, test=[exchange(99)]), tokenizer)
    assert prepared.truncated_rows == 1
    assert prepared.longest_row > 100
    assert max(item.length for item in prepared.train) == 64


@pytest.mark.parametrize("content", [[], None])
def test_an_empty_data_set_is_named(tokenizer, fetched, content):
    files = fetched(content) if content is not None else DatasetFiles(train=[(TRAIN, [])])
    with pytest.raises(DataError, match=r"data.train: s3://team/train.jsonl holds no rows") as caught:
        prepare(job(), files, tokenizer)
    assert caught.value.reason == Reason.DATASET_EMPTY


def test_preparing_does_not_import_torch():
    """Preflight runs in a small pod: torch alone would cost it seconds and a gigabyte."""
    code = (
        "import sys; import finetune_trainer.data.prepare, finetune_trainer.data.prompts, finetune_trainer.model_files;"
        "print('torch' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    # An import that fails has not imported torch either.
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == "False", "preparing imports torch"


def prompts(tokenizer, fetched, *, test, **evaluation):
    prepared = prepare(job(), fetched([exchange(n) for n in range(30)], test=test), tokenizer)
    return make_prompts(prepared, Evaluation(**evaluation))


def test_a_prompt_ends_where_the_model_is_to_answer(tokenizer, fetched):
    sets = prompts(tokenizer, fetched, test=[exchange(99)])
    (prompt,) = sets.plain
    assert tokenizer.decode(prompt.token_ids) == "<|im_start|>user\nfox 99?<|im_end|>\n<|im_start|>assistant\n"
    assert tokenizer.decode(prompt.answer_ids) == "dog 99<|im_end|>"
    assert (prompt.question, prompt.reference) == ("fox 99?", "dog 99")
    assert sets.stop_ids == {tokenizer.eos_token_id}


def test_worked_examples_are_earlier_turns_from_training_rows_the_same_for_all_prompts(tokenizer, fetched):
    turns = (("system", "be brief"), ("user", "q"), ("assistant", "a"))
    test = [{"messages": [{"role": role, "content": content} for role, content in turns]}, exchange(99)]
    with_system, plain = (
        tokenizer.decode(p.token_ids) for p in prompts(tokenizer, fetched, test=test, few_shot=2).few_shot
    )
    assert plain.count("<|im_start|>user\n") == 3
    assert with_system.startswith("<|im_start|>system\nbe brief<|im_end|>\n<|im_start|>user\nfox ")
    examples = plain.removesuffix("<|im_start|>user\nfox 99?<|im_end|>\n<|im_start|>assistant\n")
    assert examples in with_system
    assert "99" not in examples


def test_no_worked_examples_means_no_second_set_of_prompts(tokenizer, fetched):
    assert prompts(tokenizer, fetched, test=[exchange(99)], few_shot=0).few_shot is None


def test_at_most_max_rows_are_compared_and_always_the_same(tokenizer, fetched):
    test = [exchange(n) for n in range(100, 140)]
    first, again = (prompts(tokenizer, fetched, test=test, max_rows=7).plain for _ in range(2))
    assert len(first) == 7
    assert first == again
    reversed_file = prompts(tokenizer, fetched, test=test[::-1], max_rows=7).plain
    assert {prompt.question for prompt in reversed_file} == {prompt.question for prompt in first}
