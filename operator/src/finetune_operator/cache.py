"""The operator's picture of the cluster, fed by watches, by listings and by the answers to its own writes.

FinetuneJobs are kept as compressed JSON and parsed when looked at: of ten thousand, nearly all are finished and never
looked at again, and parsed ones would take hundreds of megabytes. An older version never replaces a newer one and
what is gone never comes back, so the order in which watches and answers arrive does not matter.
"""

import json
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeVar

from finetune_api.base import Timestamp
from finetune_api.conditions import ConditionType
from finetune_api.names import Kind, child_name
from finetune_operator.children import ChildJob, ChildPod, Raw
from finetune_operator.observe import Child, Key
from finetune_operator.workloads import Workload

REMEMBERED: Final = 10_000
"""Removed objects that are remembered, so that a late watch event cannot bring one back."""

Resource = Literal["finetunejobs", "jobs", "pods", "workloads"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredJob:
    """A FinetuneJob as it is kept."""

    key: Key
    uid: str
    resource_version: str
    phase: str
    stalled: str
    """Why it cannot go on without somebody's help; empty if it can."""
    saved_at: Timestamp | None
    """Of one that trains: when its state was last saved, or its attempt began."""
    packed: bytes

    @classmethod
    def pack(cls, raw: Raw) -> "StoredJob":
        """Keep a FinetuneJob as the API server sends it, without the bookkeeping of field owners."""
        metadata = {name: value for name, value in raw["metadata"].items() if name != "managedFields"}
        status = raw.get("status") or {}
        text = json.dumps({**raw, "metadata": metadata}, separators=(",", ":"))
        return cls(
            key=Key(metadata["namespace"], metadata["name"]),
            uid=metadata["uid"],
            resource_version=metadata["resourceVersion"],
            phase=status.get("phase", "Pending"),
            stalled=_stalled(status),
            saved_at=_saved_at(status),
            packed=zlib.compress(text.encode(), 1),
        )

    def unpack(self) -> Raw:
        """The FinetuneJob as the API server sent it."""
        raw: Raw = json.loads(zlib.decompress(self.packed))
        return raw


Stored = StoredJob | ChildJob | ChildPod | Workload
StoredT = TypeVar("StoredT", bound=Stored)


class Cache:
    """FinetuneJobs, their Jobs, Pods and Workloads by UID, and the paths between them."""

    def __init__(self) -> None:
        self._jobs: dict[str, StoredJob] = {}
        self._by_key: dict[Key, str] = {}
        self._children: dict[str, ChildJob] = {}
        self._by_owner: defaultdict[str, set[str]] = defaultdict(set)
        self._pods: dict[str, ChildPod] = {}
        self._by_job: defaultdict[str, set[str]] = defaultdict(set)
        self._departed: dict[str, ChildPod] = {}
        """By Job, the newest pod that ended and was then removed: a suspended Job's pods go as soon as they have ended,
        and what the last one said must not depend on who is quicker."""
        self._workloads: dict[str, Workload] = {}
        self._workloads_by_job: defaultdict[str, set[str]] = defaultdict(set)
        self._gone: dict[str, None] = {}

    def put_finetune_job(self, job: StoredJob) -> bool:
        """Take over a FinetuneJob; False if what is known is as new."""
        if not self._is_news(job, self._jobs):
            return False
        self._jobs[job.uid] = job
        self._by_key[job.key] = job.uid
        return True

    def put_job(self, job: ChildJob) -> bool:
        """Take over a child Job; False if what is known is as new."""
        if not self._is_news(job, self._children):
            return False
        self._children[job.uid] = job
        if job.owner is not None:
            self._by_owner[job.owner.uid].add(job.uid)
        return True

    def put_pod(self, pod: ChildPod) -> bool:
        """Take over a Pod; False if what is known is as new."""
        if not self._is_news(pod, self._pods):
            return False
        self._pods[pod.uid] = pod
        self._by_job[pod.job_uid].add(pod.uid)
        return True

    def put_workload(self, workload: Workload) -> bool:
        """Take over a Workload; False if what is known is as new."""
        if not self._is_news(workload, self._workloads):
            return False
        self._workloads[workload.uid] = workload
        self._workloads_by_job[workload.job_uid].add(workload.uid)
        return True

    def remove(self, resource: Resource, uid: str) -> bool:
        """Forget an object that is gone, for good: UIDs are never used again. False if it was unknown."""
        self._gone[uid] = None
        if len(self._gone) > REMEMBERED:
            del self._gone[next(iter(self._gone))]
        removers: dict[Resource, Callable[[str], bool]] = {
            "finetunejobs": self._remove_finetune_job,
            "jobs": self._remove_job,
            "pods": self._remove_pod,
            "workloads": self._remove_workload,
        }
        return removers[resource](uid)

    def finetune_job(self, key: Key) -> Raw | None:
        """A FinetuneJob as the API server sent it."""
        uid = self._by_key.get(key)
        return self._jobs[uid].unpack() if uid is not None else None

    def child(self, key: Key, owner_uid: str, kind: Kind) -> Child | None:
        """The child Job of a kind, with its pods and its newest Workload; one on its way out only if there is no other.

        Anyone who may create Jobs can name an owner, in another namespace even: only the Job that the operator
        itself would create counts.
        """
        name = child_name(key.name, kind)
        jobs = [self._children[uid] for uid in self._by_owner.get(owner_uid, ())]
        own = (job for job in jobs if (job.namespace, job.name, job.kind) == (key.namespace, name, kind))
        jobs = sorted(own, key=lambda job: job.deleting)
        if not jobs:
            return None
        pods = [self._pods[uid] for uid in self._by_job.get(jobs[0].uid, ())]
        if (departed := self._departed.get(jobs[0].uid)) is not None:
            pods.append(departed)
        workloads = (self._workloads[uid] for uid in self._workloads_by_job.get(jobs[0].uid, ()))
        return Child(
            job=jobs[0],
            pods=tuple(sorted(pods, key=lambda pod: (pod.created_at, pod.name))),
            workload=max(workloads, key=lambda workload: (workload.created_at, workload.name), default=None),
        )

    def key_of(self, resource: Resource, uid: str) -> Key | None:
        """The FinetuneJob that an object is or belongs to."""
        if resource == "pods":
            pod = self._pods.get(uid)
            return self.key_of("jobs", pod.job_uid) if pod is not None else None
        if resource == "workloads":
            workload = self._workloads.get(uid)
            return self.key_of("jobs", workload.job_uid) if workload is not None else None
        if resource == "jobs":
            child = self._children.get(uid)
            owner = child.owner if child is not None else None
            return self.key_of("finetunejobs", owner.uid) if owner is not None else None
        job = self._jobs.get(uid)
        return job.key if job is not None else None

    def running_pods(self) -> list[tuple[Key, ChildPod]]:
        """Every pod that tells of preflight or training at work; of several that train together, the first."""
        pods = [pod for pod in self._pods.values() if pod.running and pod.index == 0]
        return [(key, pod) for pod in pods if (key := self.key_of("pods", pod.uid)) is not None]

    def pending_workloads(self) -> list[tuple[Key, Workload]]:
        """Every Workload that waits for quota."""
        waiting = [each for each in self._workloads.values() if each.active and each.queue and not each.reserved]
        return [(key, each) for each in waiting if (key := self.key_of("workloads", each.uid)) is not None]

    def keys(self) -> Iterable[Key]:
        """Every FinetuneJob."""
        return tuple(self._by_key)

    def versions(self, resource: Resource) -> dict[str, str]:
        """Resource version by UID."""
        return {uid: item.resource_version for uid, item in self._table(resource).items()}

    def phases(self) -> Mapping[tuple[str, str], int]:
        """FinetuneJobs by namespace and phase."""
        return Counter((job.key.namespace, job.phase) for job in self._jobs.values())

    def stalled(self) -> Mapping[tuple[str, str], int]:
        """FinetuneJobs that need somebody's help, by namespace and reason."""
        return Counter((job.key.namespace, job.stalled) for job in self._jobs.values() if job.stalled)

    def oldest_checkpoints(self) -> Mapping[str, Timestamp]:
        """By namespace, of all FinetuneJobs that train the earliest time at which a state was last saved."""
        oldest: dict[str, Timestamp] = {}
        for job in self._jobs.values():
            if job.saved_at is not None:
                oldest[job.key.namespace] = min(job.saved_at, oldest.get(job.key.namespace, job.saved_at))
        return oldest

    def _is_news(self, item: StoredT, table: Mapping[str, StoredT]) -> bool:
        known = table.get(item.uid)
        return item.uid not in self._gone and (known is None or newer(item.resource_version, known.resource_version))

    def _remove_finetune_job(self, uid: str) -> bool:
        job = self._jobs.pop(uid, None)
        if job is not None and self._by_key.get(job.key) == uid:
            del self._by_key[job.key]
        return job is not None

    def _remove_job(self, uid: str) -> bool:
        job = self._children.pop(uid, None)
        self._departed.pop(uid, None)
        if job is not None and job.owner is not None:
            _discard(self._by_owner, job.owner.uid, uid)
        return job is not None

    def _remove_pod(self, uid: str) -> bool:
        pod = self._pods.pop(uid, None)
        if pod is not None:
            _discard(self._by_job, pod.job_uid, uid)
            self._keep_words(pod)
        return pod is not None

    def _keep_words(self, pod: ChildPod) -> None:
        earlier = self._departed.get(pod.job_uid)
        is_newest = earlier is None or earlier.created_at <= pod.created_at
        if pod.finished and is_newest and pod.job_uid in self._children:
            self._departed[pod.job_uid] = pod

    def _remove_workload(self, uid: str) -> bool:
        workload = self._workloads.pop(uid, None)
        if workload is not None:
            _discard(self._workloads_by_job, workload.job_uid, uid)
        return workload is not None

    def _table(self, resource: Resource) -> Mapping[str, Stored]:
        tables: dict[Resource, Mapping[str, Stored]] = {
            "finetunejobs": self._jobs,
            "jobs": self._children,
            "pods": self._pods,
            "workloads": self._workloads,
        }
        return tables[resource]


def _stalled(status: Raw) -> str:
    if status.get("phase") == "Failed":
        return ""
    found = (each for each in status.get("conditions") or () if each.get("type") == ConditionType.STALLED)
    return next((str(each.get("reason")) for each in found if each.get("status") == "True"), "")


def _saved_at(status: Raw) -> Timestamp | None:
    if status.get("phase") != "Running" or (status.get("progress") or {}).get("stage") != "training":
        return None
    newest = (status.get("attempts") or [{}])[-1]
    times = (newest.get("startedAt"), (status.get("checkpoint") or {}).get("savedAt"))
    return max((each for each in times if each is not None), default=None)


def newer(version: str, than: str) -> bool:
    """Whether a resource version is later; comparable as numbers by the API's own promise since Kubernetes 1.35."""
    return int(version) > int(than)


def _discard(index: defaultdict[str, set[str]], name: str, uid: str) -> None:
    index[name].discard(uid)
    if not index[name]:
        del index[name]
