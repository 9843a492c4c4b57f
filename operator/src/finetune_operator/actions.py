"""What a decision can ask for: values, carried out by the reconciler."""

from dataclasses import dataclass
from typing import Any

from finetune_api.names import Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateJob:
    """Create a child Job unless its name is taken."""

    kind: Kind
    manifest: dict[str, Any]
    service: dict[str, Any] | None = None
    """Created before it, unless it is there: by it the Job's pods find each other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteJob:
    """Remove a child Job and its pods, if it is still this one."""

    name: str
    uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SuspendJob:
    """Suspend or resume a child Job that is in no queue."""

    name: str
    uid: str
    suspend: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SetActive:
    """Put a queued Job's Workload back into its queue, or take it out: Kueue then stops the Job."""

    name: str
    uid: str
    active: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SetTtl:
    """Let Kubernetes remove a finished child Job after some time."""

    name: str
    uid: str
    seconds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SetFinalizers:
    """Change what holds the FinetuneJob itself."""

    finalizers: tuple[str, ...]


Action = CreateJob | DeleteJob | SuspendJob | SetActive | SetTtl | SetFinalizers
