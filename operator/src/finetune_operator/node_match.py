"""Whether the labels of a node are what a job asks for, as Kubernetes' scheduler reads them."""

from collections.abc import Mapping

from finetune_api.spec.placement import NodeRequirement
from finetune_api.spec.resources import Scheduling

Labels = Mapping[str, str]


def matches(wanted: Scheduling, labels: Labels) -> bool:
    """Whether the job may run on a node with these labels, taints aside."""
    return wanted.node_selector.items() <= labels.items() and all(_meets(each, labels) for each in wanted.node_affinity)


def _meets(requirement: NodeRequirement, labels: Labels) -> bool:
    label = labels.get(requirement.key)
    match requirement.operator:
        case "In":
            return label in requirement.values
        case "NotIn":
            return label not in requirement.values
        case "Exists":
            return label is not None
        case "DoesNotExist":
            return label is None
        case "Gt":
            return (number := _number(label)) is not None and number > int(requirement.values[0])
        case "Lt":
            return (number := _number(label)) is not None and number < int(requirement.values[0])


def _number(label: str | None) -> int | None:
    return int(label) if label is not None and label.isdecimal() else None
