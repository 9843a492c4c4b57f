"""The example data set is what its README says: reproducible, leak-free, and decided by rules alone."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "order-desk"
SPLITS = ["train", "validation", "test"]


def rows(split: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in (EXAMPLE / f"{split}.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def remade(tmp_path_factory: pytest.TempPathFactory) -> Path:
    dest = tmp_path_factory.mktemp("order-desk")
    subprocess.run([sys.executable, EXAMPLE / "make_data.py", dest], check=True, timeout=60)
    return dest


@pytest.mark.parametrize("split", SPLITS)
def test_the_generator_reproduces_the_committed_bytes(remade: Path, split: str) -> None:
    assert (remade / f"{split}.jsonl").read_bytes() == (EXAMPLE / f"{split}.jsonl").read_bytes()


def test_there_are_at_least_200_rows_and_at_most_40_to_test() -> None:
    sizes = {split: len(rows(split)) for split in SPLITS}
    assert sum(sizes.values()) >= 200
    assert min(sizes.values()) >= 20
    assert sizes["test"] <= 40


@pytest.mark.parametrize("field", ["input", "response"])
def test_no_message_and_no_record_occurs_twice_in_any_split(field: str) -> None:
    values = [row[field] for split in SPLITS for row in rows(split)]
    assert len(values) == len(set(values))


def test_half_of_the_test_rows_name_an_item_that_training_never_shows() -> None:
    items = {row["response"].split(" | ")[0] for row in rows("train")}
    unseen = [row for row in rows("test") if row["response"].split(" | ")[0] not in items]
    assert len(unseen) >= len(rows("test")) / 2


@pytest.mark.parametrize("position", [1, 2, 3], ids=["quantity", "size", "day"])
def test_every_code_of_a_test_record_can_be_learnt_from_training(position: int) -> None:
    learnt = {row["response"].split(" | ")[position] for row in rows("train")}
    assert {row["response"].split(" | ")[position] for row in rows("test")} <= learnt


def test_all_rows_share_one_instruction() -> None:
    assert len({row["instruction"] for split in SPLITS for row in rows(split)}) == 1
