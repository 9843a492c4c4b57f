"""Runs of the training loop on a tiny model, in this process or in several that torchrun starts.

    python -m torch.distributed.run --standalone --nproc-per-node 2 training_run.py RUNS.json

RUNS.json is a list of `RunSettings`, done one after the other; each process writes what it ended with beside it, to
`rank-<index>.pt`.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load_file, save_file
from tiny_model import tiny_config
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.optim.optimizer import register_optimizer_step_pre_hook
from trainer_settings import hyperparameters
from transformers import LlamaForCausalLM

from finetune_api.base import dump_plain, load_plain
from finetune_trainer.control import Control
from finetune_trainer.data.encode import Tokenized
from finetune_trainer.data.item import Item
from finetune_trainer.data.problems import Source
from finetune_trainer.errors import TrainerError
from finetune_trainer.execution import Execution
from finetune_trainer.loop import train
from finetune_trainer.methods.attach import attach
from finetune_trainer.methods.layers import decoder_layers
from finetune_trainer.methods.settings import MethodSettings
from finetune_trainer.objectives.language import LanguageTask
from finetune_trainer.sharding import whole
from finetune_trainer.state import Counters, LoopState, trainable

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """A run, as JSON holds it."""

    plan: list[list[int]]
    rows: int
    row_lengths: list[int] | None = None
    """Of all rows in turn; None draws each."""
    validation: int = 0
    stop_rank: int | None = None
    """The process that is asked to stop, after `stop_step` steps."""
    stop_step: int = 0
    skewed_start: bool = False
    """Every process but the first starts from other adapter weights."""
    skewed_plan: bool = False
    """Every process but the first has a step less."""
    go_on_from: str | None = None
    """File of the state to start with."""
    keep_in: str | None = None
    """File for the state that the first process ends with."""
    hyperparameters: dict[str, Any] = field(default_factory=dict)
    control: dict[str, Any] = field(default_factory=dict)
    """Fields of `Control`."""
    method: Literal["lora", "dora", "full"] = "lora"
    is_divided: bool = False
    """Every process holds a part of every layer."""
    base: Literal["float32", "bfloat16"] = "float32"


@dataclass(frozen=True)
class Ended:
    """What a process ended with."""

    losses: list[float]
    validation_losses: list[float]
    norms: list[float]
    adapter: dict[str, Tensor]
    saved_steps: list[int]
    execution_changes: str
    """What a run that goes on computes otherwise."""
    error: str
    """Why it ended before its last step, empty if it did not."""
    kept_step: int | None = None
    stopped_early: str | None = None
    held: "Held | None" = None


@dataclass(frozen=True)
class Held:
    """What a process holds of the decoder's layers while it trains, in bytes."""

    layers: int
    """Of all layers, whole."""
    weights: int
    gradients: int
    moments: int
    whole: list[str]
    """Parameters that are not divided."""

    @classmethod
    def by(cls, model: Any, optimizer: torch.optim.Optimizer) -> "Held":
        """What this process holds just before a step."""
        parameters = dict(decoder_layers(model, "a test")[1].named_parameters())
        moments = [part for each in parameters.values() for part in optimizer.state.get(each, {}).values()]
        return cls(
            layers=sum(each.numel() * each.element_size() for each in parameters.values()),
            weights=_size(parameters.values()),
            gradients=_size(each.grad for each in parameters.values() if each.grad is not None),
            moments=_size(moments),
            whole=[name for name, each in parameters.items() if not isinstance(each, DTensor)],
        )


def _size(tensors: Iterable[Tensor]) -> int:
    parts = [each.to_local() if isinstance(each, DTensor) else each for each in tensors]
    return sum(part.numel() * part.element_size() for part in parts)


def random_rows(count: int, lengths: Sequence[int] | None = None) -> list[Tokenized]:
    """Rows of random tokens, of 4 to 24 where no `lengths` are given; each with a prompt and a supervised rest."""
    generator = torch.Generator().manual_seed(11)

    def draw(low: int, high: int) -> int:
        return int(torch.randint(low, high, (1,), generator=generator))

    rows = []
    for line in range(count):
        length = lengths[line % len(lengths)] if lengths else draw(4, 25)
        prompt = draw(1, length)
        ids = [draw(3, 320) for _ in range(length)]
        rows.append(Tokenized(ids, [float(index >= prompt) for index in range(length)], Source("rows.jsonl", line + 1)))
    return rows


def run(settings: RunSettings, rank: int = 0) -> Ended:
    """Train a fresh copy of the tiny model, with one thread: tiny tensors gain nothing from more."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _run(settings, rank)
    finally:
        torch.set_num_threads(threads)


def _run(settings: RunSettings, rank: int) -> Ended:
    torch.manual_seed(0)
    base = LlamaForCausalLM(tiny_config()).to(getattr(torch, settings.base)).requires_grad_(False)
    numbers = hyperparameters(**settings.hyperparameters)
    model = attach(base, MethodSettings(type=settings.method), numbers)
    if settings.skewed_start and rank > 0:
        with torch.no_grad():
            for _, parameter in trainable(model):
                parameter.add_(0.1 * rank)
    items = [Item((row,)) for row in random_rows(settings.rows, settings.row_lengths)]
    logs, states, polls = [], [], 0

    def should_stop() -> bool:
        nonlocal polls
        polls += 1
        return rank == settings.stop_rank and polls > settings.stop_step

    error, changes, outcome, seen = "", "", None, []
    hook = register_optimizer_step_pre_hook(lambda optimizer, *_: seen.append(Held.by(model, optimizer)))
    try:
        outcome = train(
            model=model,
            task=LanguageTask(items),
            validation=LanguageTask(items[: settings.validation]) if settings.validation else None,
            settings=numbers,
            plan=[tuple(step) for step in settings.plan][: -1 if settings.skewed_plan and rank > 0 else None],
            state=_read(Path(settings.go_on_from)) if settings.go_on_from else None,
            on_log=logs.append,
            should_stop=should_stop,
            on_checkpoint=states.append,
            every_steps=10,
            control=Control(**settings.control),
            is_divided=settings.is_divided,
        )
        changes = outcome.execution_changes
    except TrainerError as stopped:
        error = str(stopped)
    finally:
        hook.remove()
    if settings.keep_in and states:
        _write(states[-1], Path(settings.keep_in))
    return Ended(
        losses=[log.loss for log in logs],
        validation_losses=[log.validation_loss for log in logs if log.validation_loss is not None],
        norms=[log.grad_norm for log in logs],
        adapter={name: whole(parameter.detach()).clone() for name, parameter in trainable(model)},
        saved_steps=[state.counters.step for state in states],
        execution_changes=changes,
        error=error,
        kept_step=outcome.kept_step if outcome else None,
        stopped_early=outcome.stopped_early if outcome else None,
        held=seen[-1] if seen else None,
    )


def _write(state: LoopState, path: Path) -> None:
    save_file(state.tensors, path)
    assert state.execution is not None
    written = [dump_plain(each) for each in (state.counters, state.execution)]
    path.with_suffix(".json").write_text(json.dumps(written))


def _read(path: Path) -> LoopState:
    counters, execution = json.loads(path.with_suffix(".json").read_text())
    return LoopState(
        load_plain(Counters, counters),
        load_file(path),
        load_plain(Execution, execution),
    )


def run_in_processes(runs: Sequence[RunSettings], count: int, folder: Path) -> list[list[Ended]]:
    """Train with `count` processes that torchrun starts; what each run ended with in each of them."""
    described = folder / "runs.json"
    described.write_text(json.dumps([asdict(settings) for settings in runs]))
    path = ["operator/src", "trainer_image/src", "tests/support"]
    environment = os.environ | {"PYTHONPATH": ":".join(str(ROOT / part) for part in path), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
    with subprocess.Popen(
        [*command, __file__, str(described)], env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            _, errors = process.communicate(timeout=300)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    assert process.returncode == 0, errors[-3000:]
    ranks = [torch.load(folder / f"rank-{rank}.pt") for rank in range(count)]
    return [[_parsed(ended) for ended in run] for run in zip(*ranks, strict=True)]


def _parsed(ended: dict[str, Any]) -> Ended:
    return Ended(**ended | {"held": Held(**ended["held"]) if ended["held"] else None})


def main() -> None:
    """Be one process of several."""
    described = Path(sys.argv[1])
    rank = int(os.environ["RANK"])
    ended = [asdict(run(RunSettings(**settings), rank)) for settings in json.loads(described.read_text())]
    torch.save(ended, described.with_name(f"rank-{rank}.pt"))
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
