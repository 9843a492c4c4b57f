"""One pass over one FinetuneJob: observe, decide, act, write what changed.

A pass may be interrupted anywhere, by an error or by the end of the process: whatever it did is observed by the next
one, which decides anew.
"""

import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Final

from finetune_api.names import MANAGER, SUSPENDED_BY, Kind
from finetune_operator.actions import Action, CreateJob, DeleteJob, SetActive, SetFinalizers, SetTtl, SuspendJob
from finetune_operator.cache import Cache, Resource
from finetune_operator.children import Owner, Raw, controller, parse_job
from finetune_operator.cluster import Cluster
from finetune_operator.decide import Decision, decide, is_final
from finetune_operator.errors import ClusterError, ConflictError, NotFoundError, RefusedError
from finetune_operator.events import event
from finetune_operator.gang import as_one
from finetune_operator.gpu_memory import GpuMemory
from finetune_operator.intake import Intake
from finetune_operator.metrics import Metrics
from finetune_operator.observe import FinetuneJob, Key, Observed, Refusal, RefusalKind, parse_finetune_job
from finetune_operator.places import PlaceBoard
from finetune_operator.progress import ProgressBoard
from finetune_operator.settings import Settings
from finetune_operator.status import status_patch

_log: Final = logging.getLogger(__name__)


class Reconciler:
    """Brings FinetuneJobs closer to what they ask for."""

    def __init__(
        self,
        *,
        cluster: Cluster,
        cache: Cache,
        intake: Intake,
        board: ProgressBoard,
        places: PlaceBoard,
        gpu_memory: GpuMemory,
        metrics: Metrics,
        settings: Settings,
        clock: Callable[[], datetime],
    ) -> None:
        self._cluster = cluster
        self._cache = cache
        self._intake = intake
        self._board = board
        self._places = places
        self._gpu_memory = gpu_memory
        self._metrics = metrics
        self._settings = settings
        self._clock = clock

    async def reconcile(self, key: Key) -> float | None:
        """One pass; returns after how many seconds to look again though nothing happens.

        Raises:
            ClusterError: try again later.
            MalformedStatusError: the stored status cannot be read.
        """
        raw = self._cache.finetune_job(key)
        if raw is None:
            return None
        job = parse_finetune_job(raw)
        observed = self._observe(job)
        decision = decide(job, observed, self._clock(), self._settings)
        if job.deleting:
            # What was left is told before the object is gone.
            await self._announce(job, decision)
        refusals = await self._act(job, decision.actions)
        if refusals:
            decision = decide(job, replace(observed, refusals=refusals), self._clock(), self._settings)
            if job.deleting:
                await self._announce(job, decision)
                await self._act(job, decision.actions)
        final = is_final(decision.status) and not is_final(job.status)
        await self._write(job, decision)
        # A final status that is stored allows what was held back until then: clean-up.
        return 0.0 if final else decision.recheck_after

    def _observe(self, job: FinetuneJob) -> Observed:
        preflight = self._places.placed(self._cache.child(job.key, job.uid, "preflight"))
        train = as_one(self._places.placed(self._cache.child(job.key, job.uid, "train")))
        return Observed(
            preflight=preflight,
            train=train,
            cleanup=self._cache.child(job.key, job.uid, "cleanup") if job.deleting else None,
            progress=self._board.newest(preflight, train),
            gpu_memory_bytes=self._gpu_memory.of(job.spec)
            if job.spec is not None and job.status.data is None
            else None,
        )

    async def _act(self, job: FinetuneJob, actions: tuple[Action, ...]) -> dict[Kind, Refusal]:
        refusals: dict[Kind, Refusal] = {}
        for action in actions:
            if isinstance(action, CreateJob):
                refusal = await self._serve(job, action) or await self._create(job, action)
                if refusal is not None:
                    refusals[action.kind] = refusal
            elif isinstance(action, SetFinalizers):
                await self._hold(job, action)
            else:
                await self._change(job.key.namespace, action)
        return refusals

    async def _create(self, job: FinetuneJob, action: CreateJob) -> Refusal | None:
        try:
            created = await self._cluster.create("jobs", action.manifest)
        except ConflictError:
            return await self._settle(job, action)
        except (RefusedError, NotFoundError) as error:
            return Refusal(kind=RefusalKind.REFUSED, message=str(error))
        _log.info("created Job", extra={"job": job.key, "child": action.manifest["metadata"]["name"]})
        self._intake.take("jobs", created)
        return None

    async def _serve(self, job: FinetuneJob, action: CreateJob) -> Refusal | None:
        """Make sure of the Service that the Job's pods find each other by, where there are several."""
        if action.service is None:
            return None
        try:
            await self._cluster.create("services", action.service)
        except ConflictError:
            return await self._settle_service(job, action.service["metadata"]["name"])
        except (RefusedError, NotFoundError) as error:
            return Refusal(kind=RefusalKind.REFUSED, message=str(error))
        return None

    async def _settle_service(self, job: FinetuneJob, name: str) -> Refusal | None:
        raw = await self._cluster.get("services", job.key.namespace, name)
        owner = controller(raw["metadata"]) if raw is not None else None
        if raw is None or "deletionTimestamp" in raw["metadata"] or (owner is not None and _is_heir(job, owner)):
            return Refusal(kind=RefusalKind.LEFTOVER, message=f"Waiting for an earlier Service {name} to be removed")
        is_own = owner is not None and owner.uid == job.uid
        return None if is_own else Refusal(kind=RefusalKind.FOREIGN, message=name, resource="Service")

    async def _settle(self, job: FinetuneJob, action: CreateJob) -> Refusal | None:
        """The name is taken: by this very job's Job, by one about to go, or by somebody else's."""
        name = action.manifest["metadata"]["name"]
        raw = await self._cluster.get("jobs", job.key.namespace, name)
        leftover = Refusal(kind=RefusalKind.LEFTOVER, message=f"Waiting for an earlier Job {name} to be removed")
        if raw is None:
            return leftover
        found = parse_job(raw)
        if found.owner is not None and found.owner.uid == job.uid:
            self._intake.take("jobs", raw)
            return leftover if found.deleting else None
        is_heir = found.owner is not None and _is_heir(job, found.owner)
        return leftover if is_heir or found.deleting else Refusal(kind=RefusalKind.FOREIGN, message=name)

    async def _change(self, namespace: str, action: DeleteJob | SuspendJob | SetActive | SetTtl) -> None:
        """Change a child; if it is gone or another one by now, the next pass sees that."""
        resource: Resource = "workloads" if isinstance(action, SetActive) else "jobs"
        try:
            if isinstance(action, DeleteJob):
                await self._cluster.delete_job(namespace, action.name, action.uid)
                self._intake.forget(resource, action.uid)
            else:
                change = {"metadata": {"uid": action.uid, **_marks(action)}, "spec": _spec(action)}
                patched = await self._cluster.patch(resource, namespace, action.name, change)
                self._intake.take(resource, patched)
        except NotFoundError:
            # The watch will say so too, but the next pass may come first, and would act on it again.
            self._intake.forget(resource, action.uid)
        except ConflictError as error:
            _log.info("a child changed meanwhile", extra={"child": action.name, "cause": str(error)})

    async def _hold(self, job: FinetuneJob, action: SetFinalizers) -> None:
        """Take hold of a FinetuneJob, or let it go."""
        version = {"uid": job.uid, "resourceVersion": job.resource_version}
        try:
            stored = await self._cluster.set_finalizers(*job.key, version, action.finalizers)
        except NotFoundError:
            return
        except ConflictError:
            await self._refresh(job.key)
            raise
        if job.deleting and not action.finalizers:
            self._intake.forget("finetunejobs", job.uid)
        else:
            self._intake.take("finetunejobs", stored)

    async def _write(self, job: FinetuneJob, decision: Decision) -> None:
        patch = status_patch(job.status, decision.status)
        if not patch:
            return
        version = {"uid": job.uid, "resourceVersion": job.resource_version}
        try:
            stored = await self._cluster.patch_status(*job.key, version, patch)
        except NotFoundError:
            return
        except ConflictError:
            await self._refresh(job.key)
            raise
        self._intake.take("finetunejobs", stored)
        self._record(job, decision)
        await self._announce(job, decision)

    async def _refresh(self, key: Key) -> None:
        current = await self._cluster.get("finetunejobs", *key)
        if current is not None:
            self._intake.take("finetunejobs", current)

    def _record(self, job: FinetuneJob, decision: Decision) -> None:
        status = decision.status
        self._metrics.jobs.changed(job.key.namespace, job.status, status, self._clock())
        if is_final(status) and not is_final(job.status):
            self._metrics.jobs.finished(job.key.namespace, status)

    async def _announce(self, job: FinetuneJob, decision: Decision) -> None:
        """Record milestones; an Event that cannot be recorded is no reason to stop."""
        for milestone in decision.milestones:
            _log.info(milestone.note, extra={"job": job.key, "reason": milestone.reason})
            try:
                await self._cluster.create_event(event(job, milestone, self._clock()))
            except ClusterError as error:
                _log.warning("event not recorded", extra={"job": job.key, "cause": str(error)})


def _is_heir(job: FinetuneJob, owner: Owner) -> bool:
    """Whether an object is of an earlier FinetuneJob of this name.

    Kubernetes removes it; everything else stays until someone acts.
    """
    return owner.is_finetune_job and owner.name == job.key.name and owner.uid != job.uid


def _spec(action: SuspendJob | SetActive | SetTtl) -> Raw:
    if isinstance(action, SuspendJob):
        return {"suspend": action.suspend}
    if isinstance(action, SetActive):
        return {"active": action.active}
    return {"ttlSecondsAfterFinished": action.seconds}


def _marks(action: SuspendJob | SetActive | SetTtl) -> Raw:
    """Who stopped it: only that one may set it going again."""
    if isinstance(action, SetTtl):
        return {}
    stops = action.suspend if isinstance(action, SuspendJob) else not action.active
    return {"annotations": {SUSPENDED_BY: MANAGER if stops else None}}
