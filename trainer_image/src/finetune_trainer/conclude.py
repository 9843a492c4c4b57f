"""The end of every run whose job has a committed result, made just now or found: promotion, and the report of it."""

from finetune_api.report import TrainerReport
from finetune_trainer.context import Context
from finetune_trainer.gates import refuse_failed
from finetune_trainer.manifest import FinalManifest
from finetune_trainer.promotion import promote


def conclude(context: Context, result: FinalManifest, *, adopted: bool) -> TrainerReport:
    """Promote a committed result if that is still to be done, and report it.

    Args:
        context: The run's surroundings.
        result: What is committed.
        adopted: Whether another run has made it.

    Raises:
        GatesFailedError: a gate does not hold, and the spec wants the job to fail for it.

    """
    report = context.adopt(result) if adopted else context.draft.report
    spec = context.request.spec
    promoted = promote(context.storage, context.layout, result, base_model=spec.model.uri, now=context.clock())
    if report.artifact is not None:
        report = context.draft.add(artifact=report.artifact.model_copy(update={"promoted_uri": promoted}))
    refuse_failed(spec.evaluation, report.evaluation.gates if report.evaluation is not None else [])
    return report
