"""Every committed job is valid, has its data beside it, and stays within what two CPU cores do in minutes."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from examples.demo.example import ROOT, Example
from tiny_model import train_tokenizer, wrap

from finetune_api.spec.data import Dataset
from finetune_api.spec.job import FinetuneJobSpec
from finetune_trainer.data.problems import Problems, RowError
from finetune_trainer.data.read import read_rows
from finetune_trainer.data.shapes import make_shape

JOBS = [pytest.param(path, id=f"{path.parent.name}/{path.stem}") for path in sorted(ROOT.glob("*/*.yaml"))]
FOLDERS = sorted({path.values[0].parent for path in JOBS})
BUCKET = "s3://team-a/"
TOKENS = 9_000
ORDER_DESK_TOKENS = 18_000
CHARACTERS_PER_TOKEN = 3.5
"""About what SmolLM2's tokenizer makes of these texts; what it really makes is asserted by the tests on the cluster."""
TEMPLATE_TOKENS = 25
"""What its chat template adds to a conversation that has a system message."""


def spec_of(path: Path) -> FinetuneJobSpec:
    return FinetuneJobSpec.model_validate(yaml.safe_load(path.read_text())["spec"])


def files(dataset: Dataset) -> list[Path]:
    place = ROOT / dataset.uri.removeprefix(BUCKET)
    return sorted(place.iterdir()) if dataset.uri.endswith("/") else [place]


def rows(dataset: Dataset) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for path in files(dataset):
        text = path.read_text()
        found += [{"text": text}] if path.suffix == ".txt" else [json.loads(line) for line in text.splitlines()]
    return found


def texts(row: dict[str, Any]) -> list[str]:
    """What the model reads: one text, or two of a pair."""
    if "chosen" in row:
        return [row["prompt"] + row[answer] for answer in ("chosen", "rejected")]
    return ["".join(row.values())]


def tokens(dataset: Dataset, *, with_template: bool) -> float:
    read = [text for row in rows(dataset) for text in texts(row)]
    return sum(len(text) / CHARACTERS_PER_TOKEN + TEMPLATE_TOKENS * with_template for text in read)


@pytest.mark.parametrize("path", JOBS)
def test_a_job_is_valid_and_has_a_name_and_an_output_of_its_own(path: Path) -> None:
    spec = spec_of(path)
    name = yaml.safe_load(path.read_text())["metadata"]["name"]
    names = Counter(yaml.safe_load(each.values[0].read_text())["metadata"]["name"] for each in JOBS)
    assert names[name] == 1
    assert spec.output.uri == f"{BUCKET}adapters/{name}"
    assert spec.resources.gpus.count == 0


@pytest.mark.parametrize("path", JOBS)
def test_every_data_set_of_a_job_lies_in_its_folder(path: Path) -> None:
    data = spec_of(path).data
    for dataset in (*data.train, *data.validation, *data.test):
        assert dataset.uri.startswith(f"{BUCKET}{path.parent.name}/")
        assert files(dataset)
        assert all(file.is_file() for file in files(dataset))


@pytest.mark.parametrize("path", JOBS)
def test_the_trainer_reads_and_encodes_every_row(path: Path) -> None:
    spec, problems = spec_of(path), Problems()
    # The tiny tokenizer makes far more tokens of a text than the real one.
    shape = make_shape(spec.objective, spec.data, wrap(train_tokenizer()), 4096)
    for dataset in (*spec.data.train, *spec.data.validation, *spec.data.test):
        for file in files(dataset):
            parsed = [shape.parse(raw, dataset.columns, at) for at, raw in read_rows(file.name, file, problems)]
            encoded = shape.encode(parsed)
            assert parsed
            assert not [each for each in encoded if isinstance(each, RowError)]
    assert problems.total == 0


@pytest.mark.parametrize("path", JOBS)
def test_no_row_stands_on_two_sides_of_a_job(path: Path) -> None:
    data = spec_of(path).data
    sides = [
        {json.dumps(row) for each in side for row in rows(each)} for side in (data.train, data.validation, data.test)
    ]
    assert all(sides)
    assert sum(map(len, sides)) == len(set().union(*sides))


@pytest.mark.parametrize("path", JOBS)
def test_a_job_trains_and_tests_in_minutes(path: Path) -> None:
    spec = spec_of(path)
    reads_plain_text = spec.objective.type == "continued-pretraining" or (
        spec.objective.classification is not None and spec.objective.classification.variant == "head"
    )
    epoch = sum(each.weight * tokens(each, with_template=not reads_plain_text) for each in spec.data.train)
    allowed = ORDER_DESK_TOKENS if (path.parent.name, path.stem) == ("order-desk", "finetunejob") else TOKENS
    assert epoch * (spec.training.epochs or 1) <= allowed
    assert 40 <= sum(len(rows(each)) for each in spec.data.test) <= 72
    if spec.objective.type == "sft":
        assert spec.evaluation.max_new_tokens <= 32


@pytest.mark.parametrize("path", JOBS)
def test_a_test_set_has_the_name_of_its_training_set(path: Path) -> None:
    data = spec_of(path).data
    assert {each.name for each in data.train} == {each.name for each in data.test} == {e.name for e in data.validation}


@pytest.mark.parametrize("folder", FOLDERS, ids=[folder.name for folder in FOLDERS])
def test_a_generator_reproduces_every_committed_data_file(folder: Path, tmp_path: Path) -> None:
    subprocess.run([sys.executable, folder / "make_data.py", tmp_path], check=True, timeout=60)
    made = {str(path.relative_to(tmp_path)): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    committed = [path for ending in ("jsonl", "txt") for path in folder.rglob(f"*.{ending}")]
    assert made == {str(path.relative_to(folder)): path.read_bytes() for path in committed}


@pytest.mark.parametrize("folder", FOLDERS, ids=[folder.name for folder in FOLDERS])
def test_every_data_file_is_read_by_some_job(folder: Path) -> None:
    read = {
        path
        for job in sorted(folder.glob("*.yaml"))
        for path in Example.load(folder.name, job.name).data_files.values()
    }
    assert read == {path for ending in ("jsonl", "txt") for path in folder.rglob(f"*.{ending}")}


@pytest.mark.parametrize("folder", FOLDERS, ids=[folder.name for folder in FOLDERS])
def test_a_readme_names_every_job_of_its_folder(folder: Path) -> None:
    page = (folder / "README.md").read_text()
    assert all(path.name in page for path in folder.glob("*.yaml"))
