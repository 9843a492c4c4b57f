"""Clean-up of child Jobs, only once their result is in status: a Job gone too early would be run again."""

from finetune_operator.actions import SetTtl
from finetune_operator.observe import FinetuneJob, Observed


def clean_up(job: FinetuneJob, observed: Observed) -> tuple[SetTtl, ...]:
    """Let Kubernetes remove the finished children of a job whose stored status is final."""
    seconds = job.spec.limits.ttl_seconds_after_finished if job.spec is not None else None
    if seconds is None:
        return ()
    children = [child.job for child in (observed.preflight, observed.train) if child is not None]
    return tuple(
        SetTtl(name=child.name, uid=child.uid, seconds=seconds)
        for child in children
        if child.ttl_seconds is None and not child.deleting
    )
