"""`spec.resources`, `spec.scheduling` and `spec.limits`: what the training pod gets, where, and for how long."""

from typing import Annotated, Final, Literal

from pydantic import ConfigDict, Field, StringConstraints

from finetune_api.base import Contract, ObjectName, Quantity, cel
from finetune_api.spec.placement import (
    AnnotationValue,
    LabelKey,
    LabelValue,
    NodeRequirement,
    Topology,
    is_scheduling_annotation,
)


class Gpus(Contract):
    """Accelerators of each training pod."""

    count: int = Field(default=1, ge=0, le=16)
    """GPUs that each pod requests; a process of the pod trains on each. 0 trains on the CPU. A requested GPU that the
    pod cannot see fails the job; it never trains on the CPU instead."""
    resource_name: str = Field(
        default="nvidia.com/gpu", max_length=253, pattern=r"^[a-z0-9.-]+/[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$"
    )
    """Extended resource that counts them: nvidia.com/gpu, amd.com/gpu, a MIG slice such as nvidia.com/mig-1g.10gb."""


class Resources(Contract):
    """What each training pod requests; its limits are the same."""

    model_config = ConfigDict(
        json_schema_extra={
            "x-kubernetes-validations": [
                cel(
                    "!has(self.sharedMemory) || quantity(self.sharedMemory).compareTo(quantity(self.memory)) <= 0",
                    "resources.sharedMemory is a part of resources.memory and must not exceed it",
                ),
                cel(
                    "!has(self.parallelism) || self.parallelism == 'ddp' || "
                    "(has(self.nodes) && self.nodes > 1) || "
                    "(has(self.gpus) && has(self.gpus.count) && self.gpus.count > 1)",
                    "resources.parallelism fsdp divides a model among several processes: raise resources.gpus.count or "
                    "resources.nodes, or leave parallelism out",
                ),
            ]
        }
    )

    nodes: int = Field(default=1, ge=1, le=64)
    """Pods that train one model together. If one is lost, all begin again from the last checkpoint."""
    gpus: Gpus = Gpus()
    """Accelerators."""
    parallelism: Literal["ddp", "fsdp"] = "ddp"
    """How GPUs and nodes share a model. ddp: each holds all of it. fsdp: each holds a part of every layer (FSDP2),
    where a model does not fit one GPU. Affects memory and speed, not the result."""
    cpu: Quantity = "4"
    """CPU cores; `500m` is half a core."""
    memory: Quantity = "16Gi"
    """Memory, shared memory included."""
    shared_memory: Quantity | None = None
    """Size of /dev/shm, through which processes of a pod exchange data; what is in it counts as memory. Empty: a pod
    with GPUs may fill its memory with it, another has the container runtime's 64 MiB."""
    scratch: Quantity = "50Gi"
    """Disk for the base model, working files and logs; requested as ephemeral-storage."""
    model_cache: ObjectName | None = None
    """PersistentVolumeClaim in the job's namespace that keeps base models: a job whose model an earlier one has left
    there starts without downloading it. Empty: the model is downloaded to the scratch disk."""

    @property
    def total_gpus(self) -> int:
        """GPUs of all pods."""
        return self.nodes * self.gpus.count

    @property
    def processes_per_node(self) -> int:
        """Processes that train in one pod: one for each GPU."""
        return max(self.gpus.count, 1)

    @property
    def world_size(self) -> int:
        """Processes that train the model together."""
        return self.nodes * self.processes_per_node


class Toleration(Contract):
    """A taint that the pod accepts."""

    key: LabelKey | None = None
    """Taint key; empty with operator Exists matches every taint."""
    operator: Literal["Exists", "Equal"] = "Equal"
    """Exists ignores the value."""
    value: LabelValue | None = None
    """Taint value for Equal."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """Taint effect; empty matches all."""


QueueName = Annotated[str, StringConstraints(max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]
"""The name of a LocalQueue, which a label has to hold."""
PriorityClassName = Annotated[str, StringConstraints(max_length=63, pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")]

_PRIORITY_NEEDS_A_QUEUE: Final = cel(
    "!has(self.workloadPriorityClass) || has(self.queue)",
    "scheduling.workloadPriorityClass is a priority among Kueue's Workloads: name scheduling.queue too",
)
_TOPOLOGY_SAID_ONCE: Final = cel(
    "!has(self.topology) || !self.annotations.exists(key, key.startsWith('kueue.x-k8s.io/podset-'))",
    "scheduling.topology and an annotation kueue.x-k8s.io/podset-... say the same: set one of them",
)


class Scheduling(Contract):
    """Where the training pod may run, and when."""

    model_config = ConfigDict(
        json_schema_extra={"x-kubernetes-validations": [_PRIORITY_NEEDS_A_QUEUE, _TOPOLOGY_SAID_ONCE]}
    )

    queue: QueueName | None = None
    """LocalQueue of Kueue, in the job's namespace, that training waits in for its turn. Empty: it starts at once."""
    workload_priority_class: PriorityClassName | None = None
    """WorkloadPriorityClass of Kueue: who goes first in the queue, and who is stopped for whom. The pod's own priority
    is priorityClassName."""
    priority_class_name: ObjectName | None = None
    """PriorityClass of the training pod."""
    node_selector: dict[str, LabelValue] = Field(
        default={},
        max_length=16,
        json_schema_extra={
            "x-kubernetes-validations": [
                cel(
                    "self.all(key, size(key) <= 317 && key.matches('^[A-Za-z0-9]([-A-Za-z0-9_./]*[A-Za-z0-9])?$'))",
                    "scheduling.nodeSelector has a key that is not a label key",
                )
            ]
        },
    )
    """Labels a node must have."""
    node_affinity: list[NodeRequirement] = Field(default=[], max_length=16)
    """What the labels of a node must be like; all of it."""
    tolerations: list[Toleration] = Field(default=[], max_length=16)
    """Taints the pod accepts."""
    topology: Topology | None = None
    """How near to each other the job's pods are: by Kueue's topology-aware scheduling in a queue, else by pod
    affinity."""
    scheduler_name: ObjectName | None = None
    """Scheduler of the training pod, such as volcano. Empty: the cluster's own."""
    annotations: dict[str, AnnotationValue] = Field(
        default={}, max_length=16, json_schema_extra={"x-kubernetes-validations": [is_scheduling_annotation()]}
    )
    """Annotations that the scheduler reads, on the training Job and its pods: scheduling.volcano.sh/queue-name, for
    instance."""


class Limits(Contract):
    """Bounds of the job's life."""

    retries: int = Field(default=3, ge=0, le=20)
    """Failed attempts that are tried again. Preemption does not count; bad data, settings or credentials are never
    retried."""
    grace_period_seconds: int | None = Field(default=None, ge=1, le=86400)
    """Time that a training pod has to save its state once it is asked to stop. Empty: by the size of a checkpoint, 2
    minutes to an hour."""
    max_run_seconds: int | None = Field(default=None, ge=1, le=31536000)
    """Training ends after running this long in all. Attempts add up; time in which the job is suspended, queued or
    pending does not count. The trainer saves its state first. Empty: no bound."""
    max_queue_seconds: int | None = Field(default=None, ge=1, le=31536000)
    """The job fails once it has waited this long in its queue in one go. Empty: no bound."""
    max_pending_seconds: int | None = Field(default=None, ge=1, le=31536000)
    """The job fails once a pod could not start for this long. Empty: a day where a node or quota may come free, half an
    hour where waiting seldom helps: an image that cannot be pulled, a missing Secret, a refusal by admission."""
    ttl_seconds_after_finished: int | None = Field(default=None, ge=0, le=31536000)
    """Remove finished Jobs and pods this long after the result is in status. The FinetuneJob and its result stay."""
