"""A small job of each objective for `tune`, in process: data with a rule, checkpoints in memory, a stop on demand."""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

from tiny_model import train_tokenizer, wrap

from finetune_api.digest import spec_digest
from finetune_api.report import SavedCheckpoint, TrainerReport
from finetune_api.request import TrainerRequest
from finetune_api.spec.data import Template
from finetune_api.spec.job import FinetuneJobSpec
from finetune_trainer.context import Context, Draft
from finetune_trainer.data.encode import Encoder, Tokenized
from finetune_trainer.data.item import Item
from finetune_trainer.data.problems import Source
from finetune_trainer.data.rows import Row, Turn
from finetune_trainer.data.template import make_render
from finetune_trainer.parent import ParentAdapter
from finetune_trainer.reporter import Reporter
from finetune_trainer.resolve import resolve
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

    def save(self, state: LoopState) -> SavedCheckpoint:
        self.states.append(state)
        return SavedCheckpoint(step=state.counters.step, uri="memory", saved_at="2026-01-31T12:00:00Z")

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
            "data": {"train": [{"uri": "s3://team/animals/", "name": "animals"}, {"uri": "s3://team/replay/"}]},
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
    stop: Any = SimpleNamespace(should_stop=should_stop)
    storage: Any = None  # nothing in `tune` reaches S3 but the checkpoints
    saved: Any = checkpoints or MemoryCheckpoints()
    context = Context(request, storage, work_dir, stop, draft, lambda: "2026-01-31T12:00:00Z")
    reporter = Reporter(io.StringIO(), work_dir / "metrics.jsonl")
    return Job(context, _prepare(name, spec), resolve(spec), model_directory, saved, reporter, parent)


def _prepare(name: str, spec: FinetuneJobSpec) -> Any:
    tokenizer = wrap(train_tokenizer())
    encoder = Encoder(tokenizer)
    render = make_render(Template(), tokenizer, encoder.special_tokens)

    def asked(number: int) -> str:
        return f"{number} {_ANIMALS[number % 2]}"

    def exchange(number: int, answer: str, source: Source) -> Tokenized:
        turns = (Turn("user", asked(number)), Turn("assistant", answer))
        return encoder.encode_exchanges(render(turns), source)

    def item(number: int) -> Item:
        source, label = Source("animals.jsonl", number + 1), number % 2
        dataset = int(number % 5 == 0)
        if name == "continued-pretraining":
            ids = encoder.encode(f"The {LABELS[label]} {_ANIMALS[label]} jumps {number} times.")
            return Item((Tokenized(ids, [1.0] * len(ids), source),), dataset=dataset)
        if name == "head":
            ids = encoder.encode(asked(number))
            return Item((Tokenized(ids, [0.0] * len(ids), source),), label=label, dataset=dataset)
        right = exchange(number, LABELS[label], source)
        if name in ("preference", "reward"):
            return Item((right, exchange(number, LABELS[1 - label], source)), dataset=dataset)
        return Item((right,), label=label if name == "generative" else -1, dataset=dataset)

    def row(number: int) -> Row:
        turns = (Turn("user", asked(number)), Turn("assistant", LABELS[number % 2]))
        return Row(turns, Source("animals.jsonl", number + 1))

    def each(make: Callable[[int], Any], numbers: Sequence[int]) -> list[Any]:
        return [make(number) for number in numbers]

    # Pairs of neighbours, so that each side has as many foxes as dogs.
    test = [number for number in range(60) if number // 2 % 4 == 0]
    validation = [number for number in range(60) if number // 2 % 12 == 3]
    train = [number for number in range(60) if number not in test + validation]
    return SimpleNamespace(
        train=each(item, train),
        validation=each(item, validation),
        test=each(item, test),
        test_rows=each(row, test),
        examples=each(row, train),
        encoder=encoder,
        render=render,
        max_tokens=spec.data.max_tokens or 128,
    )
