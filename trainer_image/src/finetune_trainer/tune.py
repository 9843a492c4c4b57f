"""Everything that needs the model in memory: the baseline, training, the comparison, the adapter on disk.

The model lives only inside `tune`; when it returns the memory is free for the clean process that verifies.
"""

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from finetune_api.report import RivalName, TrainingSummary
from finetune_trainer.checkpoint import Checkpoints
from finetune_trainer.context import Context
from finetune_trainer.data.encode import Tokenized
from finetune_trainer.data.plan import plan_digest, plan_steps
from finetune_trainer.data.prepared import Prepared
from finetune_trainer.data.prompts import Prompt, PromptSets, make_prompts
from finetune_trainer.evaluate.compare import ExampleResult, compare
from finetune_trainer.evaluate.measure import Measured, measure
from finetune_trainer.evaluate.score import mean_loss, score
from finetune_trainer.hyperparameters import Hyperparameters
from finetune_trainer.loop import micro_batch_tokens, train
from finetune_trainer.model import attach_lora, check_context, load_base, resolve_device, resolve_dtype
from finetune_trainer.objectives.language import LanguageTask
from finetune_trainer.publish import save_adapter
from finetune_trainer.reporter import Reporter
from finetune_trainer.state import LoopState
from finetune_trainer.verify import SAMPLE_ROWS

LOG: Final = logging.getLogger(__name__)
EXAMPLES: Final = "examples.jsonl"


@dataclass(frozen=True, slots=True)
class Tuned:
    """What is left when the model is gone."""

    adapter: Path
    """Directory of the saved adapter."""
    sample: list[Tokenized]
    """Rows that the adapter is verified on."""
    sample_loss: float
    """Their mean loss per supervised token, measured in memory."""


@dataclass(frozen=True)
class Job:
    """What `tune` works on."""

    context: Context
    prepared: Prepared
    settings: Hyperparameters
    model_directory: Path
    checkpoints: Checkpoints
    reporter: Reporter


def tune(job: Job) -> Tuned:
    """Measure the base, train an adapter (from the newest checkpoint), measure it, and save it to disk.

    Raises:
        TrainerError: as the parts raise; StopRequested after the state was saved.

    """
    spec = job.context.request.spec
    prompts = make_prompts(job.prepared, spec.evaluation)
    device = resolve_device(spec.resources.gpus.count)
    dtype = resolve_dtype(spec.training.precision, device)
    model = load_base(job.model_directory, dtype=dtype, device=device)
    check_context(model, _longest(job.prepared, prompts, spec.evaluation.max_new_tokens))

    job.reporter.stage("baseline")
    baseline = _measure(job, model, prompts.plain, prompts)
    rivals: dict[RivalName, Measured] = {}
    if prompts.few_shot:
        rivals["few_shot"] = _measure(job, model, prompts.few_shot, prompts)

    job.reporter.stage("training")
    model = attach_lora(model, spec.method.lora, job.settings)
    _train(job, model)

    job.reporter.stage("evaluating")
    tuned = _measure(job, model, prompts.plain, prompts)
    evaluation, examples = compare(
        prompts.plain,
        baseline=baseline,
        rivals=rivals,
        tuned=tuned,
        metrics=spec.evaluation.metrics or ("exact_match", "token_f1", "rouge_l"),
        seed=spec.training.seed,
    )
    job.context.draft.add(evaluation=evaluation)
    _write_examples(job.context.work_dir / EXAMPLES, examples)
    sample = [prompt.scored() for prompt in prompts.plain[:SAMPLE_ROWS]]
    sample_loss = mean_loss(score(model, sample, micro_batch_tokens(job.settings)))
    adapter = save_adapter(model, spec.model.uri, job.context.work_dir / "adapter")
    return Tuned(adapter, sample, sample_loss)


def _measure(job: Job, model: Any, prompts: Sequence[Prompt], sets: PromptSets) -> Measured:
    return measure(
        model,
        job.prepared.encoder.tokenizer,
        prompts,
        evaluation=job.context.request.spec.evaluation,
        stop_ids=sets.stop_ids,
        batch_tokens=micro_batch_tokens(job.settings),
        on_progress=lambda _done, _total: job.reporter.heartbeat(),
        should_stop=job.context.stop.should_stop,
    )


def _train(job: Job, model: Any) -> None:
    settings = job.settings
    task = LanguageTask(job.prepared.train)
    plan = plan_steps(
        task.lengths,
        seed=settings.seed,
        epochs=settings.epochs,
        max_steps=settings.max_steps,
        tokens_per_step=settings.tokens_per_step,
    )

    def save(state: LoopState) -> None:
        saved = job.checkpoints.save(state)
        job.context.draft.add(checkpoint=saved)
        job.reporter.checkpoint(saved)

    outcome = train(
        model=model,
        task=task,
        validation=LanguageTask(job.prepared.validation) if job.prepared.validation else None,
        settings=settings,
        plan=plan,
        state=job.checkpoints.restore(plan_digest(plan)),
        on_log=job.reporter.step,
        should_stop=job.context.stop.should_stop,
        on_checkpoint=save,
        every_steps=job.context.request.spec.checkpoint.every_steps,
    )
    LOG.info("trained %d steps, final loss %.4f", outcome.steps, outcome.final_loss)
    job.context.draft.add(training=TrainingSummary(**asdict(outcome)))


def _longest(prepared: Prepared, prompts: PromptSets, new_tokens: int) -> int:
    """Tokens of the longest sequence that the model will see."""
    rows = prepared.index.longest
    asked = [*prompts.plain, *(prompts.few_shot or [])]
    return max(rows, *(len(prompt.token_ids) + max(new_tokens, len(prompt.answer_ids)) for prompt in asked))


def _write_examples(path: Path, examples: Sequence[ExampleResult]) -> None:
    path.write_text("".join(example.model_dump_json() + "\n" for example in examples))
