"""The reference by which Kubernetes removes what the operator made, once its FinetuneJob is gone."""

from typing import Any

from finetune_api import API_VERSION, KIND
from finetune_operator.observe import FinetuneJob


def owner_reference(job: FinetuneJob) -> dict[str, Any]:
    """The FinetuneJob as controller."""
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "name": job.key.name,
        "uid": job.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }
