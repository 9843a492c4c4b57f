"""Everything that needs the model in memory: the baseline, training, the comparison, the artifact on disk.

The model lives only inside `tune`; when it returns the memory is free for the clean process that verifies.
"""

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from peft import PeftModel

from finetune_api.report import RivalName, TrainingSummary
from finetune_api.spec.evaluation import Evaluation
from finetune_trainer.artifact import SavedArtifact, save_artifact
from finetune_trainer.context import Context
from finetune_trainer.data.item import Item
from finetune_trainer.data.plan import plan_digest, plan_steps
from finetune_trainer.data.prepared import Prepared
from finetune_trainer.evaluate.batches import Keeper
from finetune_trainer.evaluate.benchmarks import Benchmarks
from finetune_trainer.evaluate.choose import make_examiner
from finetune_trainer.evaluate.compare import ExampleResult, Measured
from finetune_trainer.evaluate.examiner import Bench, Examiner
from finetune_trainer.evaluate.fingerprint import fingerprint
from finetune_trainer.evaluate.following import make_measure
from finetune_trainer.evaluate.names import metric_names
from finetune_trainer.evaluate.questions import open_questions
from finetune_trainer.evaluate.watch import Watch
from finetune_trainer.flops import most_tokens_per_second, operations_per_token
from finetune_trainer.from_spec import control, method_settings
from finetune_trainer.gpu_use import peak_memory
from finetune_trainer.head import choose_head, put_head
from finetune_trainer.hyperparameters import Hyperparameters
from finetune_trainer.loop import micro_batch_tokens, train
from finetune_trainer.merged import merge
from finetune_trainer.methods.attach import attach, finish
from finetune_trainer.model import check_context, load_base, resolve_device, resolve_dtype
from finetune_trainer.narrow import hint
from finetune_trainer.objectives.base import Task, supervised_share
from finetune_trainer.objectives.choose import make_task, sample_loss
from finetune_trainer.parent import ParentAdapter
from finetune_trainer.ranks import ALONE, Ranks
from finetune_trainer.reporter import Reporter
from finetune_trainer.state import LoopState, trainable
from finetune_trainer.steplog import StepLog
from finetune_trainer.uploads import Uploads
from finetune_trainer.verify import SAMPLE_ROWS

LOG: Final = logging.getLogger(__name__)
EXAMPLES: Final = "examples.jsonl"


@dataclass(frozen=True, slots=True)
class SavedModel:
    """A result on disk, and what it scored before it was written."""

    saved: SavedArtifact
    loss: float
    """`objectives.choose.sample_loss` of the sample, measured in memory."""


@dataclass(frozen=True, slots=True)
class Tuned:
    """What is left when the model is gone."""

    artifacts: list[SavedModel]
    """The artifact itself, then its merged form where that is asked for. Of several processes, the first has them."""
    sample: list[Item]
    """Test rows that they are verified on."""


@dataclass(frozen=True)
class Job:
    """What `tune` works on."""

    context: Context
    prepared: Prepared
    settings: Hyperparameters
    evaluation: Evaluation
    model_directory: Path
    checkpoints: Uploads
    reporter: Reporter
    parent: ParentAdapter | None = None
    """The adapter to go on from."""
    keeper: Keeper | None = None
    """Keeps what was measured, for an attempt that goes on."""
    ranks: Ranks = ALONE
    """The processes that train together."""


def tune(job: Job) -> Tuned:
    """Measure the base, tune it (from the newest checkpoint), measure the result, and save it to disk.

    Raises:
        TrainerError: as the parts raise; StopRequested after the state was saved.

    """
    spec = job.context.request.spec
    device = resolve_device(spec.resources.gpus.count)
    dtype = resolve_dtype(spec.training.precision, device)
    if device.type == "cpu" and spec.training.precision == "auto" and (word := hint()):
        LOG.info(word)
    bench = _bench(job)
    examiner = make_examiner(spec, job.prepared, bench)
    benchmarks = Benchmarks(bench, open_questions(job.context))
    head = choose_head(spec.objective, job.prepared.encoder.tokenizer, job.prepared.train)
    LOG.info("loading the base model")
    with job.context.stop.interrupting():
        model = load_base(job.model_directory, dtype=dtype, device=device, four_bit=spec.method.type == "qlora")
    _watch(job).check()
    check_context(model, _longest(job.prepared, examiner))
    job.context.start_up.ended("modelLoad")

    job.reporter.stage("baseline")
    baseline = examiner.base(model)
    rivals = examiner.rivals(model)
    base_scores = benchmarks.measure(model)
    parent_scores: dict[RivalName, Measured] = {}

    model = put_head(model, head, job.settings.seed)
    parent = job.parent.directory if job.parent else None
    model = attach(model, method_settings(spec.method), job.settings, head=head, parent=parent)
    changed = {name for name, _ in trainable(model)}
    if job.parent is not None and job.parent.config.task_type == head.task_type:
        # Before its first step the model computes what its parent does, if that has such a head.
        rivals["parent"] = examiner.tuned(model, fingerprint(model, changed))
        parent_scores["parent"] = benchmarks.measure(model)

    job.context.start_up.ended("baseline")
    _train(job, model)
    finish(model, dtype, head=head)

    job.reporter.stage("evaluating")
    tuned = examiner.tuned(model, fingerprint(model, changed))
    evaluation, examples = examiner.compare(baseline=baseline, rivals=rivals, tuned=tuned)
    scores = benchmarks.compare(baseline=base_scores, rivals=parent_scores, tuned=benchmarks.measure(model))
    evaluation = evaluation.model_copy(update={"benchmarks": scores})
    job.context.draft.add(evaluation=evaluation)
    _write_examples(job.context.work_dir / EXAMPLES, examples)

    _watch(job).check()
    if not job.ranks.is_first:
        return Tuned([], [])
    sample = list(job.prepared.test[:SAMPLE_ROWS])
    artifacts = [_save(job, model, sample, "adapter" if isinstance(model, PeftModel) else "model")]
    if spec.output.merged:
        whole = merge(model, artifacts[0].saved, job.model_directory, quantized=spec.method.type == "qlora")
        artifacts.append(_save(job, whole, sample, "merged"))
    return Tuned(artifacts, sample)


def _save(job: Job, model: Any, sample: Sequence[Item], folder: str) -> SavedModel:
    spec = job.context.request.spec
    loss = sample_loss(model, spec.objective, sample, micro_batch_tokens(job.settings))
    directory = job.context.work_dir / "artifacts" / folder
    saved = save_artifact(model, base_uri=spec.model.uri, base_directory=job.model_directory, directory=directory)
    return SavedModel(saved, loss)


def _bench(job: Job) -> Bench:
    spec = job.context.request.spec
    return Bench(
        evaluation=job.evaluation,
        metrics=metric_names(spec),
        tokenizer=job.prepared.encoder.tokenizer,
        batch_tokens=micro_batch_tokens(job.settings),
        seed=spec.training.seed,
        watch=_watch(job),
        keeper=job.keeper,
        ranks=job.ranks,
    )


def _watch(job: Job) -> Watch:
    def beat() -> None:
        job.reporter.heartbeat()
        job.checkpoints.tell()

    return Watch(beat, job.context.stop.should_stop)


def _train(job: Job, model: Any) -> None:
    settings, spec = job.settings, job.context.request.spec
    task = _task(job, model, job.prepared.train)
    plan = plan_steps(
        task.lengths,
        seed=settings.seed,
        epochs=settings.epochs,
        max_steps=settings.max_steps,
        tokens_per_step=settings.tokens_per_step,
        repeats=_repeats(job),
    )

    operations = operations_per_token(model, task.lengths, supervised_share(task))
    job.reporter.most_tokens_per_second = most_tokens_per_second(operations, spec.resources.world_size)
    start_up = job.context.start_up

    def on_log(log: StepLog) -> None:
        start_up.ended("firstSteps")
        job.reporter.step(log)

    state = _saved_state(job, plan_digest(plan))
    if state is not None:
        job.reporter.resumed(state.counters.step)
    validation = _task(job, model, job.prepared.validation) if job.prepared.validation else None
    job.reporter.stage("rehearsing")
    outcome = train(
        model=model,
        task=task,
        validation=validation,
        settings=settings,
        plan=plan,
        state=state,
        on_log=on_log,
        should_stop=job.context.stop.should_stop,
        on_checkpoint=job.checkpoints.save,
        every_steps=job.context.request.spec.checkpoint.every_steps,
        every_minutes=job.context.request.spec.checkpoint.every_minutes,
        may_save=job.checkpoints.ready,
        control=control(spec.training, make_measure(spec, job.prepared, _bench(job))),
        ranks=job.ranks,
        is_divided=spec.resources.parallelism == "fsdp",
        on_execution=job.reporter.execution,
    )
    LOG.info("trained %d steps, final loss %.4f", outcome.steps, outcome.final_loss)
    mfu = job.reporter.utilization(outcome.tokens_per_second)
    measured = {"mfu": mfu, "peak_memory_bytes": peak_memory(), "start_seconds": start_up.seconds}
    job.context.draft.add(training=TrainingSummary(**asdict(outcome), **measured))


def _saved_state(job: Job, digest: str) -> LoopState | None:
    """The state to go on from: the first process reads it, the others are told how far it is and get their weights."""
    state = job.checkpoints.restore(digest) if job.ranks.is_first else None
    told = job.ranks.tell((state.counters, state.execution) if state is not None else None)
    return state or (LoopState(told[0], {}, told[1]) if told is not None else None)


def _repeats(job: Job) -> list[float] | None:
    """How often an epoch takes each item; None where every data set weighs 1."""
    weights = [dataset.weight for dataset in job.context.request.spec.data.train]
    if all(weight == 1 for weight in weights):
        return None
    return [weights[dataset] for dataset in job.prepared.train.datasets.tolist()]


def _task(job: Job, model: Any, items: Sequence[Item]) -> Task:
    """What the untrained model is to learn from the items."""
    return make_task(
        job.context.request.spec.objective,
        items,
        model=model,
        batch_tokens=micro_batch_tokens(job.settings),
        on_batch=_watch(job).batch,
    )


def _longest(prepared: Prepared, examiner: Examiner) -> int:
    """Tokens of the longest sequence that the model will see."""
    return max(prepared.index.longest, examiner.longest)


def _write_examples(path: Path, examples: Sequence[ExampleResult]) -> None:
    path.write_text("".join(example.model_dump_json() + "\n" for example in examples))
