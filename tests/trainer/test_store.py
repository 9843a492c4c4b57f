"""What is written to the store is read back: every token, weight, label and place."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from finetune_trainer.data.encode import Tokenized
from finetune_trainer.data.item import Item
from finetune_trainer.data.items import Items, Shard
from finetune_trainer.data.problems import Source
from finetune_trainer.data.store import FileNames, SideWriter, flatten

WEIGHTS = st.one_of(st.sampled_from([0.0, 1.0]), st.floats(0, 1, width=32))


@st.composite
def sequences(draw, source):
    length = draw(st.integers(1, 8))
    ids = draw(st.lists(st.integers(0, 2**31 - 1), min_size=length, max_size=length))
    weights = draw(st.lists(WEIGHTS, min_size=length, max_size=length))
    return Tokenized(ids, weights, source)


@st.composite
def items(draw):
    number = draw(st.one_of(st.none(), st.integers(0, 2**40)))
    source = Source("a", number, "index")
    pair = draw(st.integers(1, 2))
    return Item(
        tuple(draw(sequences(source)) for _ in range(pair)),
        label=draw(st.integers(-1, 999)),
        dataset=draw(st.integers(0, 15)),
        cut=draw(st.integers(0, 100)),
    )


FILES = ("a", "b")
"""By turns; a batch is of one."""
ROWS = st.lists(st.lists(items(), max_size=3), max_size=12)
"""What each row became."""


def plain(item: Item, file: str):
    """An item in values that compare."""
    numbers = {s.source.number for s in item.sequences}
    parts = [([int(i) for i in s.token_ids], [float(w) for w in s.weights]) for s in item.sequences]
    return parts, item.label, item.dataset, item.cut, numbers, file


def write(directory: Path, rows, shard_bytes: int, batch: int):
    files = FileNames()
    writer = SideWriter(directory, "train", shard_bytes)
    for start in range(0, len(rows), batch):
        part = rows[start : start + batch]
        arrays = flatten([(number, item) for number, made in enumerate(part) for item in made])
        file = files.number(Source(FILES[start % 2], None, "index"))
        writer.add(arrays, rows=len(part), first=start, file=file)
    return writer.finish(), files


@given(ROWS, st.sampled_from([1, 300, 1 << 20]), st.integers(1, 5))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_items_come_back_as_they_were_written(tmp_path_factory, rows, shard_bytes, batch):
    directory = tmp_path_factory.mktemp("store")
    index, files = write(directory, rows, shard_bytes, batch)
    written = [item for made in rows for item in made]
    read = Items([Shard(directory / name, files.named) for name in index.shards])
    files_of = [FILES[number // batch * batch % 2] for number, made in enumerate(rows) for _ in made]
    assert [plain(item, item.source.file) for item in read] == list(map(plain, written, files_of))
    assert len(read) == index.items == len(written)
    assert read.lengths.tolist() == [item.length for item in written]
    assert read.labels.tolist() == [item.label for item in written]
    assert read.datasets.tolist() == [item.dataset for item in written]
    assert read.rows.tolist() == [number for number, made in enumerate(rows) for _ in made]
    supervised = [sum(int(w > 0) for s in item.sequences for w in list(s.weights)[1:]) for item in written]
    assert read.targets.tolist() == supervised
    assert index.supervised == sum(supervised)
    assert index.rows == len(rows)
    assert index.tokens == sum(item.length for item in written)
    assert index.cut_rows == sum(any(item.cut for item in made) for made in rows)
    longest = [max(len(s.token_ids) for s in item.sequences) + item.cut for item in written]
    assert index.longest == max(longest, default=0)
    assert index.largest == max((item.length for item in written), default=0)


@pytest.fixture
def numbered(tmp_path):
    """Items of one token, their number, in shards of a few."""
    made = [[Item((Tokenized([number], [1.0], Source("a", number)),))] for number in range(10)]
    index, files = write(tmp_path, made, shard_bytes=1, batch=3)
    assert len(index.shards) == 4
    return lambda: [Shard(tmp_path / name, files.named) for name in index.shards]


def ids(items) -> list[int]:
    return [int(item.sequences[0].token_ids[0]) for item in items]


def test_items_are_a_sequence_like_any_other(numbered):
    read = Items(numbered())
    assert ids(read[2:8:2]) == [2, 4, 6]
    assert ids([read[-1], read[0]]) == [9, 0]
    assert ids(reversed(read)) == list(range(9, -1, -1))
    for index in (10, -11):
        with pytest.raises(IndexError):
            read[index]


def test_chosen_items_alone_count(numbered):
    read = Items(numbered(), np.array([1, 4, 9]))
    assert ids(read) == [1, 4, 9]
    assert len(read) == 3
    assert read.rows.tolist() == [1, 4, 9]


def test_weights_of_zero_and_one_take_a_byte(tmp_path):
    rows = [[Item((Tokenized([1, 2], weights, Source("a", 1)),))] for weights in ([0.0, 1.0], [0.0, 0.3])]
    for number, row in enumerate(rows):
        index, files = write(tmp_path, [row], 1, 1)
        stored = Shard(tmp_path / index.shards[0], files.named).arrays["weights"]
        assert stored.dtype == (np.uint8 if number == 0 else np.float32)


def test_changing_what_was_read_does_not_change_the_file(numbered):
    read = Items(numbered())
    read[0].sequences[0].token_ids[0] = 77  # torch takes only arrays that it may write to
    assert ids(Items(numbered()))[0] == 0
