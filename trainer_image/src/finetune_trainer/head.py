"""What stands on top of the decoder: the output layer of a language model, or a new layer that is trained whole.

A new head replaces the output layer of the loaded base: the decoder is neither loaded twice nor copied. The result is
the model that plain transformers makes of the same directory (`AutoModelForSequenceClassification`), so that an
adapter trained on it is loaded by plain peft.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import torch
from torch import nn
from transformers import AutoModelForSequenceClassification

from finetune_api.conditions import Reason
from finetune_api.spec.training import Objective
from finetune_trainer.data.item import Item
from finetune_trainer.errors import SettingsError

SCORE: Final = "score"
"""Name of a new head in transformers' models; PEFT expects it for SEQ_CLS."""
_QUANTISATION: Final = ("is_quantized", "is_loaded_in_4bit", "is_loaded_in_8bit", "quantization_method", "hf_quantizer")
"""What transformers notes on a model whose layers it has replaced by quantised ones; PEFT looks at it."""


@dataclass(frozen=True, slots=True)
class Head:
    """The head that an objective trains, as those who attach, save and load adapters need to know it."""

    labels: tuple[str, ...] = ()
    """Names of a new head's outputs; none: the language model's own output layer, which stays frozen."""
    pad_token_id: int = 0
    """Of a new head: tells others, who batch by padding, where a row ends. No row ends in it."""

    @property
    def task_type(self) -> Literal["CAUSAL_LM", "SEQ_CLS"]:
        """PEFT's name for models with this head."""
        return "SEQ_CLS" if self.labels else "CAUSAL_LM"

    @property
    def modules_to_save(self) -> list[str]:
        """Modules that are trained whole and saved with an adapter."""
        return [SCORE] if self.labels else []


LANGUAGE: Final = Head()


def choose_head(objective: Objective, tokenizer: Any, items: Sequence[Item]) -> Head:
    """The head of an objective; `items` are those it is trained on."""
    if objective.type == "reward":
        return Head(("reward",), _pad_token_id(tokenizer, items))
    if objective.classification is not None and objective.classification.variant == "head":
        return Head(tuple(objective.classification.labels), _pad_token_id(tokenizer, items))
    return LANGUAGE


def put_head(model: Any, head: Head, seed: int) -> Any:
    """The model with the head on its decoder, frozen; a new one is float32 and drawn from the seed.

    Raises:
        SettingsError: transformers has no model of this architecture with a new head.

    """
    if not head.labels:
        return model
    prefix = model.base_model_prefix
    decoder = getattr(model, prefix)
    headed = _empty(model, head)
    if type(getattr(headed, prefix, None)) is not type(decoder) or not isinstance(
        getattr(headed, SCORE, None), nn.Linear
    ):
        raise _no_head(model)
    setattr(headed, prefix, decoder)
    headed.score = _new_layer(headed.score, model, seed)
    for name in _QUANTISATION:
        if hasattr(model, name):
            setattr(headed, name, getattr(model, name))
    return headed.requires_grad_(False).eval()


def _empty(model: Any, head: Head) -> Any:
    """The headed model without weights."""
    config = copy.deepcopy(model.config)
    config.id2label = dict(enumerate(head.labels))
    config.label2id = {label: index for index, label in enumerate(head.labels)}
    config.pad_token_id = head.pad_token_id
    try:
        with torch.device("meta"):
            return AutoModelForSequenceClassification.from_config(config)
    except ValueError as error:
        raise _no_head(model) from error


def _new_layer(empty: nn.Linear, model: Any, seed: int) -> nn.Linear:
    layer = nn.Linear(empty.in_features, empty.out_features, bias=empty.bias is not None)
    # On the CPU, so that the same seed gives the same head on every device.
    generator = torch.Generator().manual_seed(seed)
    nn.init.normal_(layer.weight, std=getattr(model.config, "initializer_range", 0.02), generator=generator)
    if empty.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer.to(model.device)


def _pad_token_id(tokenizer: Any, items: Sequence[Item]) -> int:
    """A token that no row ends in: who finds the last token of a padded row by id must not take away a real one.

    The pad token of many models is the end-of-turn token, which is the last of every conversation.
    """
    ends = {sequence.token_ids[-1] for item in items for sequence in item.sequences}
    named: tuple[int | None, ...] = (tokenizer.pad_token_id, tokenizer.unk_token_id, tokenizer.bos_token_id)
    candidates: list[int] = [*(token for token in named if token is not None), *range(len(tokenizer))]
    return next(token for token in candidates if token not in ends)


def _no_head(model: Any) -> SettingsError:
    return SettingsError(
        reason=Reason.MODEL_INVALID,
        message=f"transformers cannot put a new head on {type(model).__name__}, as this objective needs",
        advice="Choose another base model (Llama, Qwen and Mistral families work), or the generative variant.",
    )
