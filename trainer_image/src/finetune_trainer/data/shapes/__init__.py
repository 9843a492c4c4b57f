"""One module per objective: how its rows are read, and what they become."""

from typing import Any

from finetune_api.conditions import Reason
from finetune_api.spec.data import Data
from finetune_api.spec.training import Objective
from finetune_trainer.data.dialogue import Dialogue
from finetune_trainer.data.encode import Encoder
from finetune_trainer.data.shape import Shape
from finetune_trainer.data.shapes.conversation import ConversationShape
from finetune_trainer.data.shapes.labelled import GenerativeLabelShape, HeadLabelShape
from finetune_trainer.data.shapes.pair import PairShape
from finetune_trainer.data.shapes.text import TextShape
from finetune_trainer.errors import SettingsError


def make_shape(objective: Objective, data: Data, tokenizer: Any, max_tokens: int) -> Shape:
    """The shape of an objective's rows; sequences have at most `max_tokens` tokens.

    Raises:
        SettingsError: the tokenizer lacks what the template needs, or the user's template or the labels cannot be used.

    """
    if objective.type == "continued-pretraining":
        return TextShape(Encoder(tokenizer), max_tokens)
    if objective.type == "classification":
        return _classifier(objective, data, tokenizer, max_tokens)
    dialogue = Dialogue(data.template, tokenizer)
    if objective.type in ("preference", "reward"):
        return PairShape(dialogue, max_tokens)
    return ConversationShape(dialogue, max_tokens)


def _classifier(objective: Objective, data: Data, tokenizer: Any, max_tokens: int) -> Shape:
    settings = objective.classification
    if settings is None or len(set(settings.labels)) < len(settings.labels):
        raise SettingsError(
            reason=Reason.SETTINGS_INVALID,
            message="objective.classification.labels is missing or names a label twice",
            advice="list every label once",
        )
    if settings.variant == "head":
        return HeadLabelShape(settings.labels, Encoder(tokenizer), max_tokens)
    return GenerativeLabelShape(settings.labels, Dialogue(data.template, tokenizer), max_tokens)
