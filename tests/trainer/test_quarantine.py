"""Bad rows end the job, or are written aside without losing one; never are they dropped in silence."""

import json
from pathlib import Path

import pytest
from preparing import data_of, files_of, prepare_accepted, prepare_files

from finetune_api.conditions import Reason
from finetune_trainer.data.problems import FileError, Problems, RowError, Source
from finetune_trainer.data.quarantine import BadRows, refuse_bad_rows
from finetune_trainer.data.store_index import BAD_ROWS
from finetune_trainer.errors import DataError

GOOD = [{"instruction": f"fox {number}?", "response": f"dog {number}"} for number in range(60)]
ROWS = [*GOOD[:30], {"instruction": "a", "response": ""}, *GOOD[30:], {"instruction": "a", "response": "x" * 500}]


def files(tmp_path: Path, rows=ROWS):
    return files_of(tmp_path / "files", train=rows)


def gathered(count: int, error: RowError) -> BadRows:
    problems = Problems()
    for line in range(1, count + 1):
        problems.add(Source("rows.jsonl", line), error)
    return BadRows.of(problems)


def test_ten_bad_rows_are_shown_and_all_are_counted(tmp_path):
    bad = gathered(25, RowError("it is bad", "mend it"))
    with pytest.raises(DataError) as caught:
        refuse_bad_rows(bad, 100, data_of(files(tmp_path)))
    assert caught.value.reason is Reason.DATASET_INVALID
    assert caught.value.message.startswith("25 rows cannot be used\nrows.jsonl:1: it is bad; mend it")
    assert caught.value.message.endswith("... and 15 more")
    assert caught.value.message.count("mend it") == 1
    assert len(caught.value.message.splitlines()) == 12
    assert "data.onBadRow" in caught.value.advice


@pytest.mark.parametrize(("bad", "share"), [(0, 0.0), (5, 0.05), (100, 1.0)])
def test_quarantine_puts_up_with_the_share_that_it_is_given(tmp_path, bad, share):
    data = data_of(files(tmp_path), on_bad_row="quarantine", max_bad_share=share)
    refuse_bad_rows(gathered(bad, RowError("it is bad", "mend it")), 100, data)


def test_more_than_the_share_names_both_shares_and_the_setting(tmp_path):
    data = data_of(files(tmp_path), on_bad_row="quarantine", max_bad_share=0.05)
    with pytest.raises(
        DataError, match=r"6 rows of 100 cannot be used: 6.00%, and data.maxBadShare is 5.00%"
    ) as caught:
        refuse_bad_rows(gathered(6, RowError("it is bad", "mend it")), 100, data)
    assert "raise data.maxBadShare" in caught.value.advice
    assert "rows.jsonl:6: the same" in caught.value.message


def test_a_file_that_breaks_off_is_never_put_aside_as_one_row(tmp_path):
    data = data_of(files(tmp_path), on_bad_row="quarantine", max_bad_share=1.0)
    with pytest.raises(DataError, match="1 file cannot be read to the end"):
        refuse_bad_rows(gathered(1, FileError(Source("rows.jsonl", 7), "it ends", "mend it")), 100, data)


def test_no_row_is_lost_and_each_bad_one_stands_with_its_place_reason_and_content(tokenizer, tmp_path):
    source = files(tmp_path)
    (_, [(label, path)]) = source.train[0]
    path.write_text(path.read_text() + '{"instruction": "half\n')
    data = data_of(source, on_bad_row="quarantine", max_bad_share=0.1, max_tokens=64)
    prepared = prepare_accepted(source, data, tokenizer, tmp_path / "prepared")
    sides = (prepared.train, prepared.validation, prepared.test)
    assert sum(map(len, sides)) + prepared.index.bad.total == prepared.index.rows_read == 63
    bad = {line["place"]: line for line in map(json.loads, (tmp_path / "prepared" / BAD_ROWS).open())}
    assert set(bad) == {f"{label}:31", f"{label}:62", f"{label}:63"}
    assert bad[f"{label}:31"]["reason"] == "field 'response' is empty"
    assert bad[f"{label}:31"]["remedy"] == "fill it in or remove the row"
    assert bad[f"{label}:31"]["row"] == ROWS[30]
    assert bad[f"{label}:62"]["row"] == ROWS[-1]
    assert bad[f"{label}:63"]["text"] == '{"instruction": "half'
    assert prepared.index.summary("").bad_rows == 3


def test_the_same_bad_rows_are_judged_anew_by_each_jobs_own_settings(tokenizer, tmp_path):
    source = files(tmp_path)
    index = prepare_files(source, data_of(source, max_tokens=64), tokenizer, tmp_path / "prepared")
    refuse_bad_rows(index.bad, index.rows_read, data_of(source, on_bad_row="quarantine", max_bad_share=0.1))
    with pytest.raises(DataError, match="2 rows cannot be used"):
        refuse_bad_rows(index.bad, index.rows_read, data_of(source))
