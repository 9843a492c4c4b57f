"""What is known of one FinetuneJob at one moment, as one typed value; nothing after this looks into raw objects."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal, NamedTuple

from pydantic import ValidationError

from finetune_api.base import Timestamp
from finetune_api.names import Kind
from finetune_api.progress import Progress
from finetune_api.spec.job import FinetuneJobSpec
from finetune_api.status import FinetuneJobStatus
from finetune_operator.children import ChildJob, ChildPod, Raw
from finetune_operator.workloads import Workload


class Key(NamedTuple):
    """What the work queue holds: which FinetuneJob to look at."""

    namespace: str
    name: str


class MalformedStatusError(ValueError):
    """The stored status is not one this operator can read, so it must not decide on it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FinetuneJob:
    """A FinetuneJob, parsed."""

    key: Key
    uid: str
    resource_version: str
    generation: int
    created_at: Timestamp
    deleted_at: Timestamp | None
    """When its deletion was asked for."""
    finalizers: tuple[str, ...]
    labels: Mapping[str, str]
    spec: FinetuneJobSpec | None
    spec_error: str
    """Which field of the spec does not fit the schema; empty if all do."""
    status: FinetuneJobStatus

    @property
    def deleting(self) -> bool:
        """Whether it is to go."""
        return self.deleted_at is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """A child Job with its pods, oldest first."""

    job: ChildJob
    pods: tuple[ChildPod, ...] = ()
    workload: Workload | None = None
    """Kueue's side of it."""
    position: int | None = None
    """Its place in the queue, where it is known."""

    @property
    def queued(self) -> bool:
        """Whether Kueue decides when it runs."""
        return bool(self.job.queue) or self.workload is not None


class RefusalKind(StrEnum):
    """Why a child Job could not be created."""

    FOREIGN = "foreign"
    """Its name is taken by somebody else's Job."""
    LEFTOVER = "leftover"
    """Its name is taken by a Job that is about to be removed."""
    REFUSED = "refused"
    """The API server said no."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A child Job that could not be created."""

    kind: RefusalKind
    message: str
    """Of a foreign object, its name."""
    resource: Literal["Job", "Service"] = "Job"


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """Everything beside the FinetuneJob itself that a decision rests on."""

    preflight: Child | None = None
    train: Child | None = None
    cleanup: Child | None = None
    progress: Progress | None = None
    """The newest progress line of the pod at work."""
    gpu_memory_bytes: int | None = None
    """Memory of one GPU of the kind that the job asks for; None if it asks for none, or if it is not known, or not
    needed any more because preflight has passed."""
    refusals: Mapping[Kind, Refusal] = field(default_factory=dict)
    """What became of creations in this very pass."""


def parse_finetune_job(raw: Raw) -> FinetuneJob:
    """A FinetuneJob as the API server sends it; a spec that does not parse is a finding, not an error.

    Raises:
        MalformedStatusError: the stored status does not parse.
    """
    metadata = raw["metadata"]
    spec, spec_error = _parse_spec(raw.get("spec"))
    try:
        status = FinetuneJobStatus.model_validate(raw.get("status") or {})
    except ValidationError as error:
        if "deletionTimestamp" not in metadata:
            raise MalformedStatusError(_first_fault("status", error)) from error
        # Nothing is decided on it any more, and an object that is to go must not be held up.
        status = FinetuneJobStatus()
    return FinetuneJob(
        key=Key(metadata["namespace"], metadata["name"]),
        uid=metadata["uid"],
        resource_version=metadata["resourceVersion"],
        generation=metadata.get("generation", 0),
        created_at=metadata["creationTimestamp"],
        deleted_at=metadata.get("deletionTimestamp"),
        finalizers=tuple(metadata.get("finalizers") or ()),
        labels=metadata.get("labels") or {},
        spec=spec,
        spec_error=spec_error,
        status=status,
    )


def _parse_spec(raw: object) -> tuple[FinetuneJobSpec | None, str]:
    try:
        return FinetuneJobSpec.model_validate(raw), ""
    except ValidationError as error:
        return None, _first_fault("spec", error)


def _first_fault(root: str, error: ValidationError) -> str:
    fault = error.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join([root, *map(str, fault['loc'])])}: {fault['msg']}"
