"""Admin settings: what a platform team lets FinetuneJobs ask for, and what they get where they ask for nothing.

The chart's values `admin` are handed over as they are, as JSON; empty allows everything. What is made of them is
`policies.permission`'s, and that of whoever applies a default.
"""

from typing import Annotated, Final, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from finetune_api.base import Contract, ObjectName, Quantity
from finetune_api.spec.job import FinetuneJobSpec
from finetune_api.spec.resources import PriorityClassName, QueueName

AWS: Final = "aws"
"""In allowedEndpoints: no endpoint, which is Amazon's S3."""
NAMESPACE: Final = "{namespace}"

Endpoint = Annotated[str, StringConstraints(pattern=r"^https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?/?$", max_length=512)]
AllowedEndpoint = Annotated[
    str, StringConstraints(pattern=r"^(aws|https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?/?)$", max_length=512)
]


def _place(text: str) -> str:
    if "{" in text.replace(NAMESPACE, "") or "}" in text.replace(NAMESPACE, ""):
        raise ValueError(f"{text} has another placeholder than {NAMESPACE}")
    return text.rstrip("/") + "/"


Place = Annotated[
    str,
    StringConstraints(pattern=r"^s3://[a-z0-9{}.-]+(/[A-Za-z0-9!_.*'()=/{}-]*)?$", max_length=1024),
    AfterValidator(_place),
]
"""A bucket or a prefix, in which {namespace} stands for the FinetuneJob's namespace."""


class Defaults(Contract):
    """What a job gets that asks for nothing."""

    endpoint: Endpoint | None = None
    """For `spec.storage.endpoint`."""
    queue: QueueName | None = None
    """For `spec.scheduling.queue`."""
    priority_class: PriorityClassName | None = None
    """For `spec.scheduling.priorityClassName`."""


class Admin(Contract):
    """What FinetuneJobs may ask for; a list that is empty, like a number that is not set, allows everything."""

    allowed_endpoints: tuple[AllowedEndpoint, ...] = ()
    """For `spec.storage.endpoint`; `aws` allows none, which is Amazon's S3."""
    allowed_buckets: tuple[Place, ...] = ()
    """Where jobs may write, and read."""
    allowed_sources: tuple[Place, ...] = ()
    """Where they may read besides: shared models and data."""
    allowed_models: tuple[Place, ...] = ()
    """Where `spec.model.uri` may lie. Empty: wherever jobs may read."""
    allowed_service_accounts: tuple[ObjectName, ...] = ()
    """For `spec.storage.serviceAccountName`; a job that names none runs as its namespace's `default`."""
    allowed_gpu_resources: tuple[str, ...] = ()
    """For `spec.resources.gpus.resourceName` of jobs that ask for GPUs."""
    allowed_priority_classes: tuple[ObjectName, ...] = ()
    """For `spec.scheduling.priorityClassName` and workloadPriorityClass."""
    max_nodes: int | None = Field(default=None, ge=1)
    """For `spec.resources.nodes`."""
    max_gpus: int | None = Field(default=None, ge=0)
    """For the GPUs of all pods of a job together."""
    max_memory: Quantity | None = None
    """For `spec.resources.memory`, of each pod."""
    max_run_seconds: int | None = Field(default=None, ge=1)
    """For `spec.limits.maxRunSeconds`; a job that sets none ends after this time too."""
    defaults: Defaults = Defaults()
    """What a job gets that asks for nothing."""

    def __str__(self) -> str:
        """What is set, as it can be given."""
        return self.model_dump_json(exclude_defaults=True)

    @model_validator(mode="after")
    def _sources_add_to_buckets(self) -> Self:
        if self.allowed_sources and not self.allowed_buckets:
            raise ValueError("allowedSources adds to allowedBuckets, which is empty and so allows every bucket")
        return self

    def completed(self, spec: FinetuneJobSpec) -> FinetuneJobSpec:
        """The spec with the defaults in; none of them decides what the result is."""
        storage = spec.storage.model_copy(update={"endpoint": spec.storage.endpoint or self.defaults.endpoint})
        wanted = spec.scheduling
        scheduling = wanted.model_copy(
            update={
                "queue": wanted.queue or self.defaults.queue,
                "priority_class_name": wanted.priority_class_name or self.defaults.priority_class,
            }
        )
        return spec.model_copy(update={"storage": storage, "scheduling": scheduling})
