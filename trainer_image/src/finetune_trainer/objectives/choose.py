"""From `spec.objective` to what is learnt; the one place that knows them all."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from finetune_api.spec.training import Objective
from finetune_trainer.data.item import Item
from finetune_trainer.follow import mean_loss
from finetune_trainer.objectives.base import Task
from finetune_trainer.objectives.classify import ClassifyTask
from finetune_trainer.objectives.language import LanguageTask
from finetune_trainer.objectives.preference import PreferenceTask, log_probabilities
from finetune_trainer.objectives.reward import RewardTask


def make_task(
    objective: Objective,
    items: Sequence[Item],
    *,
    model: Any,
    batch_tokens: int,
    on_batch: Callable[[int], None] = lambda _rows: None,
) -> Task:
    """What the model learns from the items.

    `model` is as it stands before its first step, with its adapter; preference tuning measures it. `on_batch` is called
    meanwhile and may raise to stop.
    """
    if objective.type == "preference":
        reference = log_probabilities(model, items, batch_tokens, on_batch)
        return PreferenceTask(items, reference, objective.preference.beta)
    return _plain_task(objective, items)


def sample_loss(model: Any, objective: Objective, items: Sequence[Item], batch_tokens: int) -> float:
    """Mean loss by which two models are known to be the same one.

    It is the loss that is learnt from; with preference, whose loss needs a reference, that of the preferred answers as
    language.
    """
    if objective.type == "preference":
        items = [replace(item, sequences=item.sequences[:1]) for item in items]
        return mean_loss(model, LanguageTask(items), batch_tokens, packing=False)
    return mean_loss(model, _plain_task(objective, items), batch_tokens, packing=False)


def _plain_task(objective: Objective, items: Sequence[Item]) -> Task:
    if objective.type == "reward":
        return RewardTask(items)
    if objective.classification is not None and objective.classification.variant == "head":
        return ClassifyTask(items)
    return LanguageTask(items)
