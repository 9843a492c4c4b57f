"""Names and labels of what the operator makes; one place, so that selectors and manifests can't disagree."""

import hashlib
from typing import Final, Literal

from finetune_api import GROUP

Kind = Literal["preflight", "train", "cleanup"]

MANAGED_BY: Final = "app.kubernetes.io/managed-by"
MANAGER: Final = "finetune-operator"
JOB_LABEL: Final = f"{GROUP}/job"
FINALIZER: Final = f"{GROUP}/artifacts"
"""On a FinetuneJob whose spec.output.onDelete is delete, and on no other."""
OWNER_LABEL: Final = f"{GROUP}/job-uid"
"""UID of the FinetuneJob that a clean-up Job works for: it has no owner reference, since a foreground deletion, which
Argo CD uses, would remove it at once."""
KIND_LABEL: Final = f"{GROUP}/kind"
QUEUE_LABEL: Final = "kueue.x-k8s.io/queue-name"
"""Kueue's own: a Job with it is kept suspended until its queue has room."""
PRIORITY_LABEL: Final = "kueue.x-k8s.io/priority-class"
"""Kueue's own: who is let in first, and who may be stopped for whom."""
SUSPENDED_BY: Final = f"{GROUP}/suspended-by"
"""Annotation of a Job or Workload that the operator has suspended, so that it never ends another's suspension."""
AVOIDED_NODES: Final = f"{GROUP}/avoided-nodes"
"""Annotation of a child Job: names of nodes that its template leaves out, separated by commas."""
INDEX_LABEL: Final = "batch.kubernetes.io/job-completion-index"
JOB_NAME_LABEL: Final = "batch.kubernetes.io/job-name"
"""The Job controller's own, on every pod."""
SELECTOR: Final = {MANAGED_BY: MANAGER}
CONTAINER: Final = "trainer"
RENDEZVOUS_PORT: Final = 29400
"""Where the first of several pods listens for the others."""
METRICS_PORT_VARIABLE: Final = "FINETUNE_METRICS_PORT"
"""Environment variable of a training pod: where its first process serves `/metrics`. Absent: nowhere."""
METRICS_PORT_NAME: Final = "metrics"
"""Of the same port in the pod, for a PodMonitor."""
JOB_NAME_BYTES: Final = 61
"""The pods of an Indexed Job are called `<name>-<index>`, and that must be a DNS label of 63 bytes."""


def child_name(job_name: str, kind: Kind) -> str:
    """The child Job's name: readable where it fits, cut and marked with a hash where it does not."""
    suffix = f"-{kind}"
    if len(job_name) + len(suffix) <= JOB_NAME_BYTES and "." not in job_name:
        return job_name + suffix
    mark = hashlib.sha256(job_name.encode()).hexdigest()[:8]
    head = job_name.replace(".", "-")[: JOB_NAME_BYTES - len(suffix) - len(mark) - 1].rstrip("-")
    return f"{head}-{mark}{suffix}"


def service_name(job_name: str) -> str:
    """The headless Service in front of a job's training pods; a Service's name begins with a letter."""
    name = child_name(job_name, "train")
    return name if name[0].isalpha() else f"n-{name}"


def rendezvous(job_name: str) -> str:
    """`host:port` at which the first training pod is found by the others of its namespace."""
    # The Job controller calls the host of an Indexed Job's pod `<job>-<index>`.
    return f"{child_name(job_name, 'train')}-0.{service_name(job_name)}:{RENDEZVOUS_PORT}"


def label_value(job_name: str) -> str:
    """A FinetuneJob's name as a label value, cut and marked like a child's name."""
    return job_name if len(job_name) <= JOB_NAME_BYTES else child_name(job_name, "train").removesuffix("-train")
