"""What the platform team gives every pod of ours by its settings: pull secrets, a proxy, an authority, labels.

Names only: Secrets and ConfigMaps are looked up in the job's own namespace, as those are that a job names itself.
"""

from typing import Any

from finetune_api.spec.model import CaBundle, Storage
from finetune_operator.settings import Settings


def pull_secrets(settings: Settings) -> dict[str, Any]:
    """Part of a pod's spec. None where there are none: Kubernetes then takes those of the pod's service account."""
    secrets = [{"name": name} for name in settings.image_pull_secrets]
    return {"imagePullSecrets": secrets} if secrets else {}


def proxy_variables(settings: Settings) -> list[dict[str, str]]:
    """The variables that every library of the trainer knows."""
    chosen = {"HTTP_PROXY": settings.http_proxy, "HTTPS_PROXY": settings.https_proxy, "NO_PROXY": settings.no_proxy}
    return [{"name": name, "value": value} for name, value in chosen.items() if value]


def authority(storage: Storage, settings: Settings) -> CaBundle | None:
    """The CA for S3: the job's own, else the platform's."""
    if storage.ca_bundle is not None or not settings.ca_config_map:
        return storage.ca_bundle
    return CaBundle(config_map_name=settings.ca_config_map, key=settings.ca_key)


def pod_metadata(labels: dict[str, str], annotations: dict[str, str], settings: Settings) -> dict[str, Any]:
    """Labels and annotations of a pod; our own win over the platform's."""
    noted = {**dict(settings.pod_annotations), **annotations}
    return {"labels": {**dict(settings.pod_labels), **labels}, **({"annotations": noted} if noted else {})}
