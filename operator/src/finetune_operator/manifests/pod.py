"""The pod of a child Job: restricted, without Kubernetes rights, secrets as files."""

from pathlib import PurePosixPath
from typing import Any, Final

from finetune_api.mounts import CA_FILE, CREDENTIALS_DIR, TERMINATION_MESSAGE, WORK_DIR
from finetune_api.names import CONTAINER
from finetune_api.request import ENVIRONMENT_VARIABLE, TrainerRequest
from finetune_api.spec.job import FinetuneJobSpec
from finetune_api.spec.model import Storage
from finetune_api.spec.resources import Gpus, Resources
from finetune_operator.settings import Settings

Manifest = dict[str, Any]

USER: Final = 65532
"""The non-root user of both images."""
TEMPORARY_SIZE: Final = "1Gi"
"""Of /tmp; everything large goes to the scratch disk."""
DISK: Final = "ephemeral-storage"


def pod_spec(
    spec: FinetuneJobSpec,
    request: TrainerRequest,
    image: str,
    settings: Settings,
    *,
    grace_seconds: int,
) -> Manifest:
    """The pod for a request: a CPU pod for preflight, what spec.resources asks for to train."""
    training = request.kind == "train"
    resources = _training_resources(spec) if training else _preflight_resources(settings)
    shared_memory = _shared_memory(spec.resources) if training else None
    volumes, mounts = _volumes(spec.storage, resources[DISK], shared_memory)
    pod: Manifest = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": grace_seconds,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(request, image, resources, mounts)],
        "volumes": volumes,
    }
    if spec.storage.service_account_name is not None:
        pod["serviceAccountName"] = spec.storage.service_account_name
    return pod


def _container(request: TrainerRequest, image: str, resources: Manifest, mounts: list[Manifest]) -> Manifest:
    return {
        "name": CONTAINER,
        "image": image,
        "args": [request.kind],
        "env": [
            {"name": ENVIRONMENT_VARIABLE, "value": request.model_dump_json(exclude_none=True)},
            # The root file system is read-only; libraries keep small files under HOME.
            {"name": "HOME", "value": "/tmp"},  # noqa: S108
        ],
        "resources": {"requests": resources, "limits": resources},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "terminationMessagePath": TERMINATION_MESSAGE,
        "terminationMessagePolicy": "File",
        "volumeMounts": mounts,
    }


def _training_resources(spec: FinetuneJobSpec) -> Manifest:
    wanted = spec.resources
    return {"cpu": wanted.cpu, "memory": wanted.memory, DISK: wanted.scratch} | _gpu_resources(wanted.gpus)


def _gpu_resources(gpus: Gpus) -> Manifest:
    return {gpus.resource_name: str(gpus.count)} if gpus.count else {}


def _preflight_resources(settings: Settings) -> Manifest:
    return {"cpu": settings.preflight_cpu, "memory": settings.preflight_memory, DISK: settings.preflight_scratch}


def _shared_memory(wanted: Resources) -> Manifest | None:
    """The volume for /dev/shm: the default of 64 MiB breaks data loaders and NCCL. It counts as the pod's memory."""
    if wanted.shared_memory is not None:
        return {"medium": "Memory", "sizeLimit": wanted.shared_memory}
    return {"medium": "Memory"} if wanted.gpus.count else None


def _volumes(storage: Storage, scratch: str, shared_memory: Manifest | None) -> tuple[list[Manifest], list[Manifest]]:
    volumes: list[Manifest] = [
        {"name": "work", "emptyDir": {"sizeLimit": scratch}},
        {"name": "tmp", "emptyDir": {"sizeLimit": TEMPORARY_SIZE}},
    ]
    mounts: list[Manifest] = [
        {"name": "work", "mountPath": WORK_DIR},
        {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108
    ]
    if shared_memory is not None:
        volumes.append({"name": "shm", "emptyDir": shared_memory})
        mounts.append({"name": "shm", "mountPath": "/dev/shm"})  # noqa: S108
    for volume, path in _storage_volumes(storage):
        volumes.append(volume)
        mounts.append({"name": volume["name"], "mountPath": path, "readOnly": True})
    return volumes, mounts


def _storage_volumes(storage: Storage) -> list[tuple[Manifest, str]]:
    found: list[tuple[Manifest, str]] = []
    if storage.credentials is not None:
        secret = {"secretName": storage.credentials.secret_name, "defaultMode": 0o440, "optional": False}
        found.append(({"name": "s3-credentials", "secret": secret}, CREDENTIALS_DIR))
    if storage.ca_bundle is not None:
        path = PurePosixPath(CA_FILE)
        items = [{"key": storage.ca_bundle.key, "path": path.name}]
        bundle = {"name": storage.ca_bundle.config_map_name, "items": items}
        found.append(({"name": "s3-ca", "configMap": bundle}, str(path.parent)))
    return found
