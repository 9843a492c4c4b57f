"""Methods that change the base's own weights: all of them, or the last layers."""

from collections.abc import Sequence
from typing import Any

from torch import nn

from finetune_api.conditions import Reason
from finetune_trainer.errors import SettingsError
from finetune_trainer.methods.settings import too_few_layers
from finetune_trainer.model import causal_lm


def train_everything(model: Any) -> None:
    """Make every weight trainable."""
    model.requires_grad_(True)


def train_last_layers(model: Any, count: int, heads: Sequence[str]) -> None:
    """Make the last `count` layers trainable, the norm after them, and new heads.

    Raises:
        SettingsError: the model has fewer layers, or none that can be told from its other parts.

    """
    parent, layers = decoder_layers(model, "spec.method.type last-layers")
    if count > len(layers):
        raise too_few_layers(count, len(layers))
    model.requires_grad_(False)
    children = list(parent.children())
    after = children[children.index(layers) + 1 :]
    norms = [module for module in after if "norm" in type(module).__name__.lower()]
    added = [model.get_submodule(name) for name in heads]
    for module in (*layers[-count:], *norms, *added):
        module.requires_grad_(True)


def decoder_layers(model: Any, use: str) -> tuple[nn.Module, nn.ModuleList]:
    """The list of the decoder's layers, and the module that it is a part of; `use` is the setting that needs them.

    It is the outermost list that is as long as the configuration says: experts and the like are lists inside a layer.

    Raises:
        SettingsError: it cannot be found.

    """
    whole = causal_lm(model)
    depth = getattr(whole.config.get_text_config(), "num_hidden_layers", None)
    found = [
        name for name, module in whole.named_modules() if isinstance(module, nn.ModuleList) and len(module) == depth
    ]
    outermost = [name for name in found if not any(name.startswith(f"{other}.") for other in found)]
    if len(outermost) != 1:
        raise SettingsError(
            reason=Reason.SETTINGS_INVALID,
            message=f"{use}: the layers of {type(whole).__name__} cannot be told from its other parts "
            f"({len(outermost)} lists of {depth} modules)",
            advice="leave that setting out, or choose a base model of another architecture",
        )
    return whole.get_submodule(outermost[0].rpartition(".")[0]), whole.get_submodule(outermost[0])
