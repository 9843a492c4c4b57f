"""The numbers of the data report, each against a sum done by hand."""

from collections import Counter

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from report_rows import Reporting

from finetune_trainer.data.encode import Tokenized
from finetune_trainer.data.item import Item
from finetune_trainer.data.problems import RowError, Source
from finetune_trainer.data.report import builder as builder_module
from finetune_trainer.data.report import samples
from finetune_trainer.data.report.content import DataReport
from finetune_trainer.data.report.lengths import describe_lengths
from finetune_trainer.data.report.runs import runs_of
from finetune_trainer.data.report.sample import HashSample
from finetune_trainer.data.split import Repeats


@pytest.fixture
def reporting() -> Reporting:
    return Reporting()


def messages(report: DataReport, severity: str | None = None) -> list[str]:
    return [finding.message for finding in report.findings if severity in (None, finding.severity)]


def test_rows_and_tokens_are_counted_per_side_and_data_set(reporting):
    reporting.row("one two three", "four five")
    reporting.row("one two", "three", dataset=1)
    reporting.row("one", "two three", side="test")
    report = reporting.finish()
    train, test = report.sides
    assert (train.side, train.rows, train.tokens, train.supervised) == ("train", 2, 8, 3)
    assert (test.side, test.rows, test.tokens, test.supervised) == ("test", 1, 3, 2)
    assert [(each.side, each.name, each.tokens) for each in report.datasets] == [
        ("train", "orders", 5),
        ("train", "replay", 3),
        ("test", "held-out", 3),
    ]


def test_the_first_token_is_not_supervised_because_nothing_predicts_it(reporting):
    source = Source("s3://team/a.txt", 1)
    tokenized = Tokenized([0, 0, 0], [1, 1, 1], source)
    reporting.words.encode("word")
    row = type("Row", (), {"source": source, "digest": lambda _: b"d", "texts": lambda _: iter(["word"])})()
    reporting.builder.row("train", 0, row, [Item((tokenized,))], order=1)
    assert reporting.finish().sides[0].supervised == tokenized.targets == 2


def test_both_sequences_of_a_preference_pair_count(reporting):
    source = Source("s3://team/pairs.jsonl", 1)
    chosen = Tokenized(reporting.words.encode("a good answer"), [0, 1, 1], source)
    rejected = Tokenized(reporting.words.encode("a bad"), [0, 1], source)
    row = type("Row", (), {"source": source, "digest": lambda _: b"d", "texts": lambda _: iter(["a", "b"])})()
    reporting.builder.row("train", 0, row, [Item((chosen, rejected))], order=1)
    report = reporting.finish()
    assert (report.sides[0].rows, report.sides[0].tokens, report.sides[0].supervised) == (1, 5, 3)
    assert report.lengths[0].sequences == 2
    assert [[run.text for run in runs] for runs in report.shown[0].sequences] == [
        ["a ", "good answer "],
        ["a ", "bad "],
    ]


def test_cut_rows_are_counted_per_side_and_longest_rows_tell_their_whole_length(reporting):
    reporting.row("one two three", cut=7)
    reporting.row("one two three four")
    reporting.row("one", side="test", cut=1)
    report = reporting.finish(max_tokens=4)
    assert [(side.cut_rows, side.cut_tokens) for side in report.sides] == [(1, 7), (1, 1)]
    assert [(row.place, row.tokens) for row in report.longest] == [
        ("s3://team/train-0.jsonl:1", 11),
        ("s3://team/train-0.jsonl:2", 5),
        ("s3://team/test-0.jsonl:3", 3),
    ]
    assert "training rows that lost the start of their prompt: 1 of 2" in messages(report, "warning")


def test_the_ten_longest_rows_are_kept_and_of_equal_ones_the_first(reporting):
    for length in (5, 3, 9, 3, 7, 1, 8, 2, 6, 4, 3, 10):
        reporting.row(" ".join(["w"] * length))
    report = reporting.finish()
    assert [row.tokens - 1 for row in report.longest] == [10, 9, 8, 7, 6, 5, 4, 3, 3, 3]
    assert [row.place.rpartition(":")[2] for row in report.longest][-3:] == ["2", "4", "11"]


def test_percentiles_are_lengths_that_occur():
    lengths = describe_lengths("train", Counter(range(1, 101)))
    assert (lengths.p50, lengths.p90, lengths.p95, lengths.p99, lengths.longest) == (50, 90, 95, 99, 100)
    assert (lengths.mean, lengths.sequences) == (50.5, 100)


def test_bins_have_one_round_width_and_hold_every_sequence():
    lengths = describe_lengths("train", Counter({1: 5, 10: 1, 11: 2, 100: 3}))
    assert [(each.low, each.high, each.count) for each in lengths.bins[:3]] == [(1, 5, 5), (6, 10, 1), (11, 15, 2)]
    assert lengths.bins[-1].high == 100
    assert sum(each.count for each in lengths.bins) == 11


def test_a_few_far_longer_sequences_share_the_last_bin():
    lengths = describe_lengths("train", Counter({20: 1000, 40: 1000, 9000: 1}))
    assert len(lengths.bins) == 21
    assert (lengths.bins[-1].low, lengths.bins[-1].high, lengths.bins[-1].count) == (41, 9000, 1)


def test_labels_are_counted_per_side_and_lack_and_imbalance_are_told(reporting):
    for label, count in ((0, 20), (1, 2)):
        for number in range(count):
            reporting.row(f"text {label} {number}", label=label)
    reporting.row("text", side="test", label=0)
    report = reporting.finish(labels=["good", "bad", "ugly"])
    assert [(each.label, each.train, each.validation, each.test) for each in report.labels] == [
        ("good", 20, 0, 1),
        ("bad", 2, 0, 0),
        ("ugly", 0, 0, 0),
    ]
    assert "no training row has the label ugly" in messages(report, "warning")
    assert "the most frequent label has 10 times the rows of the rarest" in messages(report, "warning")
    assert "no test row has the label bad" in messages(report, "note")


def test_balanced_labels_are_no_finding(reporting):
    for label in (0, 1):
        reporting.row(f"text {label}", label=label)
        reporting.row(f"more {label}", label=label, side="test")
    assert not [message for message in messages(reporting.finish(labels=["good", "bad"])) if "label" in message]


def test_counts_of_exact_copies_come_from_the_caller_and_become_findings(reporting):
    for number in range(50):
        reporting.row(f"text {number}")
    report = reporting.finish(repeats=Repeats(duplicates={"train": 5}, train_test=1))
    assert "exact copies among the training rows: 5 of 50" in messages(report, "warning")
    assert "training rows left out because they are test rows too: 1" in messages(report, "note")
    assert (report.near.train.rows, report.near.train.compared) == (45, 50)


def test_data_that_teaches_next_to_nothing_is_told(reporting):
    reporting.row(" ".join(["prompt"] * 99), "answer")
    assert "only 1.0% of the training tokens are learnt from" in messages(reporting.finish(), "warning")


def test_warnings_stand_before_notes(reporting):
    reporting.row("mail bob@example.com " + "w " * 99)
    severities = [finding.severity for finding in reporting.finish().findings]
    assert severities == sorted(severities, reverse=True)
    assert set(severities) == {"warning", "note"}


def test_bad_rows_are_listed_up_to_a_bound_and_all_are_counted(reporting, monkeypatch):
    monkeypatch.setattr(builder_module, "BAD_ROWS_SHOWN", 2)
    for line in (3, 5, 9):
        reporting.builder.bad(Source("s3://team/a.jsonl", line), RowError("field 'a' is empty", "fill it in"))
    bad = reporting.finish().bad
    assert bad.total == 3
    assert [(row.place, row.problem, row.remedy) for row in bad.rows] == [
        ("s3://team/a.jsonl:3", "field 'a' is empty", "fill it in"),
        ("s3://team/a.jsonl:5", "field 'a' is empty", "fill it in"),
    ]


def test_a_report_without_a_single_good_row_says_so(reporting):
    reporting.builder.bad(Source("s3://team/a.jsonl"), RowError("it is not UTF-8", "save it as UTF-8"))
    report = reporting.finish()
    assert (report.sides, report.lengths, report.languages, report.shown) == ([], [], None, [])


def test_three_rows_are_shown_whatever_their_order():
    rows = [f"text number {number}" for number in range(200)]
    shown = []
    for order in (rows, rows[::-1]):
        reporting = Reporting()
        for text in order:
            reporting.row(text)
        shown.append({row.sequences[0][0].text for row in reporting.finish().shown})
    assert shown[0] == shown[1]
    assert len(shown[0]) == 3


def test_a_shown_row_is_all_of_its_text_with_weights(reporting):
    reporting.row("what is it", "a fox")
    (row,) = reporting.finish().shown
    assert [(run.text, run.weight, run.tokens) for run in row.sequences[0]] == [
        ("what is it ", 0.0, 3),
        ("a fox ", 1.0, 2),
    ]
    assert row.place == "s3://team/train-0.jsonl:1"


def test_runs_of_a_real_tokenizer_join_to_the_whole_text(tokenizer):
    """A blank that begins a run is neither lost nor doubled."""
    text = "<|im_start|>user\nfox é日本?<|im_end|>\n<|im_start|>assistant\n dog é日本<|im_end|>"
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    for cut in range(1, len(ids)):
        weights = [0.0] * cut + [1.0] * (len(ids) - cut)
        runs = runs_of(Tokenized(ids, weights, Source("s3://team/a.jsonl", 1)), lambda ids: tokenizer.decode(list(ids)))
        assert [run.tokens for run in runs] == [cut, len(ids) - cut]
        within_a_character = "\ufffd" in tokenizer.decode(ids[:cut])
        assert within_a_character or "".join(run.text for run in runs) == text


def test_languages_are_guessed_on_rows_with_enough_text(reporting):
    for number in range(5):
        reporting.row(
            f"Der Auftrag Nummer {number} wurde gestern an das Lager in Hamburg geschickt, weil der Kunde drängte"
        )
        reporting.row(
            f"Order number {number} was sent to the warehouse in Hamburg yesterday because the customer insisted"
        )
    reporting.row("ok")
    languages = reporting.finish().languages
    assert {each.language: each.rows for each in languages.shares} == {"de": 5, "en": 5}
    assert (languages.guessed, languages.too_short) == (10, 1)


def test_samples_are_bounded_and_hold_the_smallest_digests():
    sample: HashSample[int] = HashSample(10)
    digests = [number.to_bytes(2, "big") for number in range(1000)]
    offered = 0
    for number, digest in enumerate(digests[::-1]):
        if sample.wants(digest):
            sample.add(digest, number, number)
            offered += 1
        assert len(sample._kept) < 20
    assert sample.rows() == [999 - number for number in range(10)]


def test_an_exact_copy_is_sampled_once():
    sample: HashSample[str] = HashSample(10)
    assert sample.wants(b"a")
    sample.add(b"a", "first", 1)
    assert not sample.wants(b"a")


@example(1, [(5, 2), (7, 1), (5, 0)])
@given(
    st.integers(1, 3),
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 2)), max_size=30),
)
def test_a_sample_is_the_same_however_rows_were_dealt_out(size, dealt):
    """Copies of one row among them: of those the first is kept, whoever has seen it."""
    whole, parts = HashSample[int](size), [HashSample[int](size) for _ in range(3)]
    for order, (content, part) in enumerate(dealt):
        for sample in (whole, parts[part]):
            if sample.wants(bytes([content])):
                sample.add(bytes([content]), order, order)
    merged = HashSample[int](size)
    for part in parts:
        merged.take_in(part)
    assert merged.rows() == whole.rows()


def test_memory_of_a_long_stream_is_bounded(reporting, monkeypatch):
    """However many rows stream by, no more stays behind than the samples hold."""
    monkeypatch.setattr(samples, "TRAIN_COMPARED", 50)
    reporting = Reporting()
    for number in range(3000):
        reporting.row(f"text {number}")
    held = reporting.builder._samples
    kept = [*held._compared.values(), held._excerpts, held._shown]
    assert sum(len(sample._kept) for sample in kept) <= 2 * (50 + 1000 + 3)
    assert reporting.finish().near.train.compared == 50
