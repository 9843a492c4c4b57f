"""The headless Service by which the pods of a job of several nodes find the first of them."""

from typing import Any

from finetune_api.names import JOB_LABEL, JOB_NAME_LABEL, MANAGED_BY, MANAGER, child_name, label_value, service_name
from finetune_operator.manifests.owner import owner_reference
from finetune_operator.observe import FinetuneJob


def headless_service(job: FinetuneJob) -> dict[str, Any]:
    """One for the FinetuneJob's whole life: it finds the pods of every Job that comes under the same name."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": service_name(job.key.name),
            "namespace": job.key.namespace,
            "labels": {MANAGED_BY: MANAGER, JOB_LABEL: label_value(job.key.name)},
            "ownerReferences": [owner_reference(job)],
        },
        "spec": {
            "clusterIP": "None",
            # The pods have to find each other before any of them could be called ready.
            "publishNotReadyAddresses": True,
            "selector": {JOB_NAME_LABEL: child_name(job.key.name, "train")},
        },
    }
