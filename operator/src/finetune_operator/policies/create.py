"""A child Job that is not there: it is asked for, unless that has just been refused."""

from dataclasses import replace

from finetune_api.digest import spec_digest
from finetune_api.names import Kind, rendezvous
from finetune_api.request import TrainerRequest
from finetune_api.spec.job import FinetuneJobSpec
from finetune_api.status import DataStatus
from finetune_operator.actions import CreateJob
from finetune_operator.manifests.job import child_job, queue_of
from finetune_operator.manifests.service import headless_service
from finetune_operator.observe import FinetuneJob, Observed
from finetune_operator.policies import permission, refused, work_order
from finetune_operator.queue_view import joining
from finetune_operator.settings import Settings
from finetune_operator.step import Step, failed


def step(
    job: FinetuneJob,
    spec: FinetuneJobSpec,
    kind: Kind,
    *,
    validated: DataStatus | None,
    begun: Step,
    observed: Observed,
    settings: Settings,
) -> Step:
    """Ask for the Job, and the job has `begun`; `validated` is what preflight found, None for preflight itself."""
    if (reason := permission.denied(job.key.namespace, spec, settings.admin)) is not None:
        return failed(reason)
    refusal = observed.refusals.get(kind)
    if refusal is not None:
        return refused.step(job, kind, refusal)
    queue = queue_of(kind, spec, settings)
    if queue and not settings.kueue:
        return refused.without_kueue(kind, queue)
    # What preflight has checked is trained by the same program, also across an upgrade of the operator.
    image = job.status.image or settings.trainer_image
    is_several = kind == "train" and spec.resources.nodes > 1
    request = TrainerRequest(
        kind=kind,
        namespace=job.key.namespace,
        name=job.key.name,
        uid=job.uid,
        spec=spec,
        spec_digest=spec_digest(spec),
        image=image,
        data_digest=validated.digest if validated is not None else None,
        prepared_digest=validated.prepared_digest if validated is not None else None,
        rendezvous=rendezvous(job.key.name) if is_several else None,
        # What fits is judged once, before training; another answer later must not change the Job.
        gpu_memory_bytes=observed.gpu_memory_bytes if validated is None else None,
    )
    if (reason := work_order.too_large(request)) is not None:
        return failed(reason)
    create = CreateJob(
        kind=kind,
        manifest=child_job(job, spec, request, image, settings),
        service=headless_service(job) if is_several else None,
    )
    if queue:
        view = joining(queue)
        begun = replace(begun, phase="Queued", reason=view.reason, message=view.message, queue=view)
    return replace(begun, actions=(create,))
