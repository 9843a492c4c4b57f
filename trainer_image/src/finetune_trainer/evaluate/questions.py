"""`spec.evaluation.benchmarks`, from S3 to prompts; preflight does it too, so torch is not imported."""

from typing import TYPE_CHECKING

from finetune_api.conditions import Reason
from finetune_api.spec.job import FinetuneJobSpec
from finetune_trainer.context import Context
from finetune_trainer.errors import SettingsError
from finetune_trainer.evaluate.task_files import fetch_task_data

if TYPE_CHECKING:
    from finetune_trainer.evaluate.harness import Questions


def check_objective(spec: FinetuneJobSpec) -> None:
    """Check that the tuned model is one that writes.

    Raises:
        SettingsError: benchmarks are asked of a model that gives labels or scores.

    """
    classification = spec.objective.classification
    has_head = classification is not None and classification.variant == "head"
    if spec.evaluation.benchmarks and (spec.objective.type == "reward" or has_head):
        raise SettingsError(
            reason=Reason.SETTINGS_INVALID,
            message=f"evaluation.benchmarks: a model of objective.type {spec.objective.type} writes no text",
            advice="leave benchmarks out, or set objective.classification.variant to generative",
        )


def open_questions(context: Context) -> "list[Questions]":
    """The questions of every benchmark, in the spec's order; digests of their files go to the lineage.

    Raises:
        SettingsError: a task that is not known, or can't be asked here.
        DataError: files that are missing, or do not fit the task.

    """
    benchmarks = context.request.spec.evaluation.benchmarks
    if not benchmarks:
        return []
    from finetune_trainer.evaluate.harness import Harness, Questions  # noqa: PLC0415  takes seconds

    harness = Harness()
    tasks = [harness.task(each, f"spec.evaluation.benchmarks[{index}]") for index, each in enumerate(benchmarks)]
    found = []
    for task in tasks:
        context.stop.check()
        directory = context.work_dir / "benchmarks" / task.benchmark.task
        data = fetch_task_data(context.storage, task.benchmark.uri, task.splits, directory, task.field)
        name = f"benchmarkDigest.{task.benchmark.task}"
        context.draft.add(lineage=context.draft.report.lineage | {name: data.digest})
        found.append(Questions(task, data.splits))
    return found
