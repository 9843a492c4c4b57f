"""What a method needs of job and base model, checked before anything large is downloaded; torch is not imported."""

from finetune_api.conditions import Reason
from finetune_api.spec.job import FinetuneJobSpec
from finetune_api.spec.training import Method
from finetune_trainer.base_model import BaseModel
from finetune_trainer.errors import SettingsError
from finetune_trainer.methods.settings import ALL_LINEAR, WHOLE_MODEL, too_few_layers, unknown_targets


def check_method(spec: FinetuneJobSpec) -> None:
    """Check what the spec alone tells: qlora needs a GPU, and an adapter is gone on from by training adapters.

    Raises:
        SettingsError: naming the field.

    """
    method = spec.method.type
    if method == "qlora" and spec.resources.gpus.count == 0:
        raise SettingsError(
            reason=Reason.SETTINGS_INVALID,
            message="spec.method.type qlora needs a GPU, and spec.resources.gpus.count is 0",
            advice="set resources.gpus.count to 1, or method.type to lora",
        )
    if spec.model.adapter_uri is not None and method in WHOLE_MODEL:
        raise SettingsError(
            reason=Reason.SETTINGS_INVALID,
            message=f"spec.model.adapterUri: method.type {method} trains no adapter that could go on from another",
            advice="choose a method that trains adapters, or name a whole model as model.uri",
        )


def check_method_on(method: Method, base: BaseModel) -> None:
    """Check a method against the base model's sizes and the names of its weights.

    Names as they are saved can differ from those in the loaded model in their first parts, so a target counts as known
    where one name ends with the other. What passes here and is no linear layer all the same is refused by training.

    Raises:
        SettingsError: more last layers than there are, or a target module that does not exist.

    """
    if method.type == "last-layers" and method.last_layers.count > base.layers:
        raise too_few_layers(method.last_layers.count, base.layers)
    targets = method.lora.target_modules
    if method.type in WHOLE_MODEL or ALL_LINEAR in targets:
        return
    linear = [tensor.module for tensor in base.linear_layers]
    unknown = [target for target in targets if not any(_same_module(target, name) for name in linear)]
    if unknown:
        raise unknown_targets(unknown, linear)


def _same_module(target: str, name: str) -> bool:
    return f".{name}".endswith(f".{target}") or f".{target}".endswith(f".{name}")
