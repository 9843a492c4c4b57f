"""Parts of `spec.scheduling`: which nodes, how near to each other, and what schedulers read from annotations."""

from typing import Annotated, Final, Literal

from pydantic import ConfigDict, Field, JsonValue, StringConstraints

from finetune_api.base import Contract, cel

LabelKey = Annotated[str, StringConstraints(max_length=317, pattern=r"^[A-Za-z0-9]([-A-Za-z0-9_./]*[A-Za-z0-9])?$")]
LabelValue = Annotated[str, StringConstraints(max_length=63, pattern=r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$")]
AnnotationValue = Annotated[str, StringConstraints(max_length=1024)]

ANNOTATIONS: Final = (
    "scheduling.k8s.io/",
    "scheduling.volcano.sh/",
    "kueue.x-k8s.io/podset-",
)
"""How annotations begin that a user may put on training pods: only schedulers read these. `volcano.sh/` is not among
them, because Volcano's device plugin takes a pod's share of a GPU from `volcano.sh/vgpu-...`."""

_VALUES_FIT: Final = cel(
    "self.operator in ['Exists', 'DoesNotExist'] ? size(self.values) == 0 : "
    "self.operator in ['Gt', 'Lt'] ? size(self.values) == 1 && self.values[0].matches('^[0-9]+$') : "
    "size(self.values) > 0",
    "scheduling.nodeAffinity: In and NotIn take one or more values, Gt and Lt one whole number, Exists and "
    "DoesNotExist none",
)


class NodeRequirement(Contract):
    """What the label of a node must be like."""

    model_config = ConfigDict(json_schema_extra={"x-kubernetes-validations": [_VALUES_FIT]})

    key: LabelKey
    """The label."""
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"]
    """How it is compared with the values; NotIn also takes nodes without the label."""
    values: list[LabelValue] = Field(default=[], max_length=32)
    """One or more for In and NotIn, one whole number for Gt and Lt, none for Exists and DoesNotExist."""


class Topology(Contract):
    """Keeps the pods of a job near to each other."""

    key: LabelKey
    """A node label that is the same on nodes that are near, such as a rack's, a block's or
    topology.kubernetes.io/zone."""
    required: bool = False
    """true: the job waits until all of its pods fit into one domain. false: they are near where there is room."""


def is_scheduling_annotation() -> dict[str, JsonValue]:
    """The rule for annotations, that stands beside their field."""
    allowed = " || ".join(f"key.startsWith('{prefix}')" for prefix in ANNOTATIONS)
    return cel(
        f"self.all(key, size(key) <= 317 && ({allowed}))",
        f"scheduling.annotations takes those of schedulers alone, which begin with {', '.join(ANNOTATIONS)}",
    )
