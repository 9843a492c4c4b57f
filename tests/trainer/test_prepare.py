"""From files to token ids and prompts, and everything that can be wrong with a data set, found before training."""

import json
import multiprocessing
import subprocess
import sys
from functools import partial
from itertools import count

import pytest
from preparing import TRAIN, data_of, files_of, prepare_accepted, prepare_files

from finetune_api.conditions import Reason
from finetune_api.spec.evaluation import Evaluation
from finetune_trainer.data import stream, workers
from finetune_trainer.data.batch import BatchMaker
from finetune_trainer.data.prompts import make_prompts
from finetune_trainer.data.report.builder import ReportBuilder
from finetune_trainer.data.split import SIDES
from finetune_trainer.data.stream import DatasetFiles, Meter, RowReader
from finetune_trainer.errors import DataError, InfrastructureError


def exchange(number: int, answer: str = "dog") -> dict[str, str]:
    return {"instruction": f"fox {number}?", "response": f"{answer} {number}"}


@pytest.fixture
def prepare(tokenizer, tmp_path):
    """Prepares rows, each time in a directory of its own."""
    runs = count()

    def run(train, validation=(), test=(), test_rows=500, **settings):
        work = tmp_path / str(next(runs))
        files = files_of(work / "files", train=train, validation=validation, test=test)
        data = data_of(files, **settings)
        return prepare_accepted(files, data, tokenizer, work / "prepared", test_rows=test_rows)

    return run


def ids(items) -> list[list[int]]:
    return [sequence.token_ids.tolist() for item in items for sequence in item.sequences]


def test_the_summary_counts_what_was_prepared(prepare):
    prepared = prepare([exchange(n) for n in range(60)])
    summary = prepared.index.summary("sha256:0")
    assert summary.train_rows + summary.validation_rows + summary.test_rows == 60
    assert summary.train_tokens == sum(item.length for item in prepared.train)
    assert summary.supervised_tokens == sum(sum(item.sequences[0].weights) for item in prepared.train)
    assert summary.longest_row == max(item.length for item in prepared.train)
    assert (summary.digest, summary.truncated_rows) == ("sha256:0", 0)


def test_preparing_twice_gives_the_same_bytes(tokenizer, tmp_path):
    files = files_of(tmp_path / "files", train=[exchange(n) for n in range(60)])
    contents = []
    for name in ("first", "second"):
        prepare_files(files, data_of(files), tokenizer, tmp_path / name)
        contents.append({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()})
    assert contents[0] == contents[1]


def test_however_many_processes_work_on_it_the_bytes_and_the_report_are_the_same(tokenizer, tmp_path, monkeypatch):
    monkeypatch.setattr(stream, "BATCH_ROWS", 3)
    monkeypatch.setattr(workers, "LARGE", 0)
    # Now and then a bad row, alternately found by parsing and by encoding, and a control token as text.
    rows = [exchange(n, ("", "dog " * 90, "<|im_end|>", "dog", "a@example.com")[n % 5]) for n in range(90)]
    files = files_of(tmp_path / "files", train=rows * 2, validation=rows[40:60], test=rows[50:70])
    with (tmp_path / "files" / "train.jsonl").open("a") as out:
        out.write("no JSON\n" + json.dumps(exchange(99)) + "\n")
    contents, reports = [], []
    for cores in (1, 2, 3):
        monkeypatch.setattr(workers, "_cores", lambda cores=cores: cores)
        target, report = tmp_path / str(cores), ReportBuilder(show_rows=True)
        data = data_of(files, max_tokens=64)
        index = prepare_files(files, data, tokenizer, target, watch=report)
        contents.append({path.name: path.read_bytes() for path in target.iterdir()})
        names = {side: ["rows"] for side in SIDES}
        reports.append(
            report.finish(names=names, labels=(), max_tokens=64, repeats=index.repeats, decode=tokenizer.batch_decode)
        )
    assert contents[0] == contents[1] == contents[2]
    assert reports[0] == reports[1] == reports[2]
    assert b"leaves no room" in contents[0]["bad_rows.jsonl"]
    assert reports[0].pii[0].rows > 1
    assert reports[0].bad.total > 1


def test_a_process_that_is_killed_ends_the_run_with_a_reason(tokenizer, tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "LARGE", 0)
    monkeypatch.setattr(workers, "_cores", lambda: 2)
    files = files_of(tmp_path / "files", train=[exchange(n) for n in range(10)])

    def kill_all(_rule):
        for process in multiprocessing.active_children():
            process.kill()
            process.join()

    monkeypatch.setattr(workers.Processes, "begin", lambda _self, rule: kill_all(rule))
    with pytest.raises(InfrastructureError, match="killed for memory"):
        prepare_files(files, data_of(files), tokenizer, tmp_path / "prepared")


def test_what_goes_wrong_in_a_process_is_told_and_the_others_end(tokenizer, tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "LARGE", 0)
    monkeypatch.setattr(workers, "_cores", lambda: 2)
    files = files_of(tmp_path / "files", train=[exchange(n) for n in range(10)])
    crew = workers.workers(partial(BatchMaker, object, None), 1)
    with pytest.raises(Exception, match="no side was begun"), crew as begun:  # told by the process that is asked
        list(begun.make(RowReader(Meter(1)).batches("train", files.train)))
    assert not multiprocessing.active_children()


def test_every_sequence_is_one_sides_and_rows_keep_their_order(prepare, tokenizer):
    prepared = prepare([exchange(n) for n in range(60)])
    sides = [[item.source.number for item in side] for side in (prepared.train, prepared.validation, prepared.test)]
    assert sorted(number for side in sides for number in side) == list(range(1, 61))
    assert all(side == sorted(side) for side in sides)
    first = prepared.train[0]
    number = first.source.number - 1
    assert tokenizer.decode(first.sequences[0].token_ids) == (
        f"<|im_start|>user\nfox {number}?<|im_end|>\n<|im_start|>assistant\ndog {number}<|im_end|>"
    )


def test_validation_rows_that_turn_out_to_be_test_rows_are_not_followed(prepare):
    rows = [exchange(n) for n in range(60)]
    cut = prepare(rows)
    tested = {row.source.number for row in cut.test_rows}
    prepared = prepare(rows, validation=rows[:50])
    assert {row.source.number for row in prepared.test_rows} == tested
    both = {number for number in tested if number <= 50}
    assert both
    assert {item.source.number for item in prepared.validation} == set(range(1, 51)) - both
    assert prepared.index.validation.rows == len(prepared.validation) == 50 - len(both)
    assert prepared.index.repeats.validation_test == len(both)
    assert prepared.index.repeats.train_validation == 50 - len(both)


def test_examples_are_different_rows_that_are_trained_on(prepare):
    prepared = prepare([exchange(n % 40) for n in range(80)], test=[exchange(n) for n in range(3)])
    asked = [row.question for row in prepared.examples]
    assert len(asked) == len(set(asked)) == 16
    trained = {item.source.number for item in prepared.train}
    assert {row.source.number for row in prepared.examples} <= trained


def test_bad_rows_of_every_kind_are_reported_together(prepare):
    rows = [exchange(1), {"instruction": "a"}, exchange(2), {"instruction": "a", "response": 3}]
    with pytest.raises(DataError) as caught:
        prepare(rows, test=[{"prompt": "a", "answer": ""}])
    assert caught.value.reason == Reason.DATASET_INVALID
    first, *lines = caught.value.message.splitlines()
    assert first == "3 rows cannot be used"
    places = ["s3://team/test.jsonl:1", "s3://team/train.jsonl:2", "s3://team/train.jsonl:4"]
    assert [line.partition(": ")[0] for line in lines] == places


def test_an_answer_that_would_be_cut_off_is_named_by_file_and_line(prepare):
    rows = [*(exchange(n) for n in range(40)), {"instruction": "a", "response": "x" * 100}]
    with pytest.raises(DataError, match=r"s3://team/train.jsonl:41: the answer has 1\d\d tokens"):
        prepare(rows, test=[exchange(99)], max_tokens=64)


def test_followed_rows_stand_as_test_rows_without_those_that_are_test_rows_too(prepare):
    rows = [exchange(n) for n in range(60)]
    prepared = prepare(rows, validation=rows[:50])
    followed = prepared.followed()
    numbers = [item.source.number for item in prepared.validation]
    assert [row.source.number for row in followed.test_rows] == numbers
    assert [item.source.number for item in followed.test] == numbers
    assert ids(followed.test) == ids(prepared.validation)


def test_at_most_so_many_rows_are_followed_by_a_metric_as_are_tested(prepare):
    prepared = prepare([exchange(n) for n in range(60)], validation=[exchange(n) for n in range(60, 90)], test_rows=5)
    assert len(prepared.followed().test_rows) == 5
    assert len(prepared.validation) == 30


def test_rows_that_lose_part_of_their_prompt_are_counted(prepare):
    rows = [exchange(1), {"instruction": "x" * 100, "response": "dog"}]
    prepared = prepare(rows, test=[exchange(99)], max_tokens=64)
    assert prepared.index.train.cut_rows == 1
    assert prepared.index.train.longest > 100
    assert max(item.length for item in prepared.train) == prepared.index.longest == 64


@pytest.mark.parametrize("content", [[], None])
def test_an_empty_data_set_is_named(tokenizer, tmp_path, content):
    files = files_of(tmp_path, train=content) if content is not None else DatasetFiles(train=[(TRAIN, [])])
    with pytest.raises(DataError, match=r"data.train: s3://team/train.jsonl holds no rows") as caught:
        prepare_files(files, data_of(files), tokenizer, tmp_path / "prepared")
    assert caught.value.reason == Reason.DATASET_EMPTY


def test_preparing_does_not_import_torch():
    """Preflight runs in a small pod: torch alone would cost it seconds and a gigabyte."""
    code = "import sys; import finetune_trainer.preflight, finetune_trainer.data.prompts;print('torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    # An import that fails has not imported torch either.
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == "False", "preparing imports torch"


@pytest.fixture
def prompts(prepare):
    def make(test, **evaluation):
        settings = Evaluation(**evaluation)
        prepared = prepare([exchange(n) for n in range(30)], test=test, test_rows=settings.max_rows)
        return make_prompts(prepared, settings)

    return make


def test_a_prompt_ends_where_the_model_is_to_answer(tokenizer, prompts):
    sets = prompts(test=[exchange(99)])
    (prompt,) = sets.plain
    assert tokenizer.decode(prompt.token_ids) == "<|im_start|>user\nfox 99?<|im_end|>\n<|im_start|>assistant\n"
    assert tokenizer.decode(prompt.answer_ids) == "dog 99<|im_end|>"
    assert (prompt.question, prompt.reference) == ("fox 99?", "dog 99")
    assert sets.stop_ids == {tokenizer.eos_token_id}


def test_worked_examples_are_earlier_turns_from_training_rows_the_same_for_all_prompts(tokenizer, prompts):
    turns = (("system", "be brief"), ("user", "q"), ("assistant", "a"))
    test = [{"messages": [{"role": role, "content": content} for role, content in turns]}, exchange(99)]
    with_system, plain = (tokenizer.decode(p.token_ids) for p in prompts(test=test, few_shot=2).few_shot)
    assert plain.count("<|im_start|>user\n") == 3
    assert with_system.startswith("<|im_start|>system\nbe brief<|im_end|>\n<|im_start|>user\nfox ")
    examples = plain.removesuffix("<|im_start|>user\nfox 99?<|im_end|>\n<|im_start|>assistant\n")
    assert examples in with_system
    assert "99" not in examples


def test_no_worked_examples_means_no_second_set_of_prompts(prompts):
    assert prompts(test=[exchange(99)], few_shot=0).few_shot is None


def test_at_most_max_rows_are_compared_and_always_the_same(prompts):
    test = [exchange(n) for n in range(100, 140)]
    first, again = (prompts(test=test, max_rows=7).plain for _ in range(2))
    assert len(first) == 7
    assert first == again
    reversed_file = prompts(test=test[::-1], max_rows=7).plain
    assert {prompt.question for prompt in reversed_file} == {prompt.question for prompt in first}


PEAK_OF_PREPARING = """
import json, sys
from pathlib import Path
from preparing import TRAIN, data_of, prepare_files
from finetune_trainer.data import stream
from tiny_model import train_tokenizer, wrap

stream.BATCH_CHARACTERS = 1 << 17  # small, so that a small file has many batches
path = Path(sys.argv[1], "rows.jsonl")
words = "the quick brown fox jumps over the lazy dog " * 22
with path.open("w") as out:
    for number in range(int(sys.argv[2]) * 1000):
        out.write(json.dumps({"instruction": f"{number} {words}", "response": f"{number}"}) + "\\n")
files = stream.DatasetFiles(train=[(TRAIN, [(TRAIN.uri, path)])])
prepare_files(files, data_of(files), wrap(train_tokenizer()), Path(sys.argv[1], "prepared"), shard_bytes=1 << 20)
print(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
"""


def test_memory_does_not_grow_with_the_data(tmp_path):
    peaks = []
    for megabytes in (2, 12):
        work = tmp_path / str(megabytes)
        work.mkdir()
        command = [sys.executable, "-c", PEAK_OF_PREPARING, str(work), str(megabytes)]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stderr
        peaks.append(int(run.stdout) / 1024)
    # Ten megabytes of rows in memory would be more than 100 MB of objects.
    assert peaks[1] - peaks[0] < 12, peaks
