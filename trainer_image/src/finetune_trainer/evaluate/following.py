"""A metric of the objective on the validation rows, by the examiner that measures the test rows in the end."""

from dataclasses import replace
from typing import Any

from finetune_api.spec.job import FinetuneJobSpec
from finetune_trainer.control import ValidationMeasure
from finetune_trainer.data.prepared import Prepared
from finetune_trainer.evaluate import confusion, metrics
from finetune_trainer.evaluate.choose import make_examiner
from finetune_trainer.evaluate.examiner import Bench
from finetune_trainer.evaluate.pairs import PAIR_ACCURACY


def make_measure(spec: FinetuneJobSpec, prepared: Prepared, bench: Bench) -> ValidationMeasure | None:
    """What measures `training.validation.metric`, on at most `evaluation.max_rows` rows; None where it is the loss.

    Raises:
        DataError: a validation row cannot be asked.

    """
    name = spec.training.validation.metric
    if name == "loss":
        return None
    # No worked examples: they are for the base. Data sets are named by the list that the rows come from.
    evaluation = spec.evaluation.model_copy(update={"few_shot": 0})
    followed = spec.model_copy(update={"data": spec.data.model_copy(update={"test": spec.data.validation})})
    examiner = make_examiner(followed, prepared.followed(), replace(bench, evaluation=evaluation, metrics=(name,)))
    combine = {**metrics.METRICS, **confusion.METRICS, PAIR_ACCURACY.name: PAIR_ACCURACY}[name].combine

    def measure(model: Any) -> float:
        return float(combine(examiner.tuned(model).tables[name].sum(0)))

    return ValidationMeasure(name, measure)
