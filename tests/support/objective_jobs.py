"""A small job of each objective for `tune`, in process: data with a rule, checkpoints in memory, a stop on demand."""

import io
import json
import shutil
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

from tiny_model import train_tokenizer, wrap

from finetune_api.digest import spec_digest
from finetune_api.report import TrainerReport
from finetune_api.request import TrainerRequest
from finetune_api.spec.data import Dataset
from finetune_api.spec.job import FinetuneJobSpec
from finetune_trainer.context import Context, Draft
from finetune_trainer.data.prepare import Preparation
from finetune_trainer.data.prepared import Prepared
from finetune_trainer.data.shapes import make_shape
from finetune_trainer.data.stream import DatasetFiles
from finetune_trainer.hyperparameters import Hyperparameters
from finetune_trainer.parent import ParentAdapter
from finetune_trainer.reporter import Reporter
from finetune_trainer.resolve import DataStats, resolve
from finetune_trainer.state import LoopState
from finetune_trainer.tune import Job

LABELS: Final = ["quick", "lazy"]
_ANIMALS: Final = ("fox", "dog")
OBJECTIVES: Final[dict[str, dict[str, Any]]] = {
    "sft": {"type": "sft"},
    "continued-pretraining": {"type": "continued-pretraining"},
    "head": {"type": "classification", "classification": {"labels": LABELS}},
    "generative": {"type": "classification", "classification": {"labels": LABELS, "variant": "generative"}},
    "preference": {"type": "preference"},
    "reward": {"type": "reward"},
}
"""`spec.objective` by a short name."""


@dataclass
class MemoryCheckpoints:
    """Checkpoints that live as long as the test."""

    states: list[LoopState] = field(default_factory=list)

    def save(self, state: LoopState) -> None:
        self.states.append(state)

    def ready(self) -> bool:
        return True

    def tell(self) -> None:
        """Nobody listens."""

    def restore(self, plan_digest: str) -> LoopState | None:
        assert all(state.counters.plan_digest == plan_digest for state in self.states)
        return self.states[-1] if self.states else None


def make_job(
    name: str,
    model_directory: Path,
    work_dir: Path,
    *,
    checkpoints: MemoryCheckpoints | None = None,
    parent: ParentAdapter | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    **sections: Any,
) -> Job:
    """A job whose rows say that foxes are quick and dogs are lazy; `sections` replace parts of the spec."""
    spec = FinetuneJobSpec.model_validate(
        {
            "model": {"uri": "s3://team/base"},
            "objective": OBJECTIVES[name],
            "data": {side: _datasets(side) for side in ("train", "validation", "test")},
            "training": {"epochs": 100, "maxSteps": 24, "tokensPerStep": 192, "learningRate": 0.02},
            "evaluation": {"maxNewTokens": 4, "fewShot": 1},
            "output": {"uri": "s3://team/out"},
            "resources": {"gpus": {"count": 0}},
            **sections,
        }
    )
    digest = spec_digest(spec)
    request = TrainerRequest(kind="train", namespace="team", name=name, uid="uid", spec=spec, spec_digest=digest)
    draft = Draft(TrainerReport(kind="train", outcome="failed", spec_digest=digest))
    work_dir.mkdir(exist_ok=True)
    stop: Any = SimpleNamespace(should_stop=should_stop, interrupting=nullcontext)
    storage: Any = None  # nothing in `tune` reaches S3 but the checkpoints
    saved: Any = checkpoints or MemoryCheckpoints()
    context = Context(request, storage, work_dir, stop, draft, lambda: "2026-01-31T12:00:00Z")
    reporter = Reporter(io.StringIO(), work_dir / "metrics.jsonl")
    prepared = _prepare(name, spec, work_dir)
    settings = _settings(spec, prepared, parent)
    return Job(context, prepared, settings, spec.evaluation, model_directory, saved, reporter, parent)


def _datasets(side: str) -> list[dict[str, str]]:
    return [{"uri": f"s3://team/{side}/animals.jsonl", "name": "animals"}, {"uri": f"s3://team/{side}/replay.jsonl"}]


def _settings(spec: FinetuneJobSpec, prepared: Prepared, parent: ParentAdapter | None) -> Hyperparameters:
    side = prepared.index.train
    stats = DataStats(side.items, side.tokens, side.supervised, side.longest, hidden=32, limit=prepared.max_tokens)
    return resolve(spec, stats, parent.config if parent else None)[0]


def _prepare(name: str, spec: FinetuneJobSpec, directory: Path) -> Prepared:
    """Rows as files, prepared as preflight does it."""
    # Pairs of neighbours, so that each side has as many foxes as dogs.
    test = [number for number in range(60) if number // 2 % 4 == 0]
    validation = [number for number in range(60) if number // 2 % 12 == 3]
    train = [number for number in range(60) if number not in test + validation]
    folder = directory / "rows"
    folder.mkdir(parents=True, exist_ok=True)

    def side(datasets: Sequence[Dataset], numbers: list[int]) -> list[tuple[Dataset, list[tuple[str, Path]]]]:
        parts = [[number for number in numbers if (number % 5 == 0) == bool(index)] for index in range(2)]
        return [(dataset, [_file(folder, name, dataset, part)]) for dataset, part in zip(datasets, parts, strict=True)]

    data = spec.data
    files = DatasetFiles(side(data.train, train), side(data.validation, validation), side(data.test, test))
    tokenizer, max_tokens = wrap(train_tokenizer()), data.max_tokens or 128
    make = partial(make_shape, spec.objective, data, tokenizer, max_tokens)
    index = Preparation(
        data, make, _made(directory / "prepared"), max_tokens=max_tokens, test_rows=spec.evaluation.max_rows
    ).run(files)
    assert not index.bad.total
    return Prepared(directory / "prepared", data, make(), tokenizer)


def _made(directory: Path) -> Path:
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    return directory


def _file(folder: Path, name: str, dataset: Dataset, numbers: list[int]) -> tuple[str, Path]:
    path = folder / dataset.uri.removeprefix("s3://team/").replace("/", "-")
    path.write_text("".join(json.dumps(_row(name, number)) + "\n" for number in numbers))
    return dataset.uri, path


def _row(name: str, number: int) -> dict[str, str]:
    asked, label = f"{number} {_ANIMALS[number % 2]}", number % 2
    if name == "continued-pretraining":
        return {"text": f"The {LABELS[label]} {_ANIMALS[label]} jumps {number} times."}
    if name in ("head", "generative"):
        return {"text": asked, "label": LABELS[label]}
    if name in ("preference", "reward"):
        return {"prompt": asked, "chosen": LABELS[label], "rejected": LABELS[1 - label]}
    return {"instruction": asked, "response": LABELS[label]}
