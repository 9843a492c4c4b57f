"""One module per objective: how its rows are read, and what they become."""

from typing import Any

from finetune_api.spec.data import Data
from finetune_api.spec.training import Objective
from finetune_trainer.data.shape import Shape
from finetune_trainer.data.shapes.conversation import ConversationShape


def make_shape(objective: Objective, data: Data, tokenizer: Any, max_tokens: int) -> Shape:  # noqa: ARG001
    """The shape of an objective's rows; sequences have at most `max_tokens` tokens.

    Raises:
        SettingsError: the tokenizer lacks what the template needs.

    """
    return ConversationShape(data.template, tokenizer, max_tokens)
