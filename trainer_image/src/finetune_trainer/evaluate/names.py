"""Which scores an objective has, by name; preflight refuses others, so torch is not imported."""

from finetune_api.conditions import Reason
from finetune_api.spec.evaluation import DEFAULT_METRICS, METRICS, MetricName
from finetune_api.spec.job import FinetuneJobSpec
from finetune_trainer.errors import SettingsError


def metric_names(spec: FinetuneJobSpec) -> tuple[MetricName, ...]:
    """The scores to measure, the most important first; losses are measured besides.

    Raises:
        SettingsError: `evaluation.metrics` names one that the objective does not have.

    """
    objective, allowed = spec.objective.type, METRICS[spec.objective.type]
    foreign = [name for name in spec.evaluation.metrics if name not in allowed]
    if foreign:
        raise SettingsError(
            reason=Reason.SETTINGS_INVALID,
            message=f"evaluation.metrics: {', '.join(foreign)} cannot be measured with objective.type {objective}",
            advice=f"choose from {', '.join(allowed)}"
            if allowed
            else "leave it empty: loss and perplexity are measured",
        )
    return tuple(dict.fromkeys(spec.evaluation.metrics)) or DEFAULT_METRICS[objective]
