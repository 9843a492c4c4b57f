"""The pod of a child Job: restricted, without Kubernetes rights, secrets as files."""

from pathlib import PurePosixPath
from typing import Any, Final

from finetune_api.mounts import CA_FILE, CREDENTIALS_DIR, MODEL_CACHE_DIR, TERMINATION_MESSAGE, WORK_DIR
from finetune_api.names import CONTAINER, METRICS_PORT_NAME, METRICS_PORT_VARIABLE
from finetune_api.request import ENVIRONMENT_VARIABLE, TrainerRequest
from finetune_api.spec.job import FinetuneJobSpec
from finetune_api.spec.model import Storage
from finetune_api.spec.resources import Gpus, Resources
from finetune_operator.manifests.platform import authority, proxy_variables, pull_secrets
from finetune_operator.settings import Settings

Manifest = dict[str, Any]
Mounted = tuple[Manifest, str]
"""A volume, and where the container sees it."""

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
    of_training = _training_volumes(spec.resources) if training else []
    read = _storage_volumes(spec.storage, settings)
    volumes, mounts = _volumes(resources[DISK], of_training, read)
    pod: Manifest = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": grace_seconds,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            **({"runAsUser": USER, "runAsGroup": USER, "fsGroup": USER} if settings.fixed_user else {}),
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        **pull_secrets(settings),
        "containers": [_container(request, image, resources, mounts, settings)],
        "volumes": volumes,
    }
    if spec.storage.service_account_name is not None:
        pod["serviceAccountName"] = spec.storage.service_account_name
    return pod


def _container(
    request: TrainerRequest, image: str, resources: Manifest, mounts: list[Manifest], settings: Settings
) -> Manifest:
    metrics_port = settings.trainer_metrics_port if request.kind == "train" else 0
    return {
        "name": CONTAINER,
        "image": image,
        "args": [request.kind],
        "env": [
            {"name": ENVIRONMENT_VARIABLE, "value": _literally(request.model_dump_json(exclude_none=True))},
            # The root file system is read-only; libraries keep small files under HOME.
            {"name": "HOME", "value": "/tmp"},  # noqa: S108
            *proxy_variables(settings),
            *([{"name": METRICS_PORT_VARIABLE, "value": str(metrics_port)}] if metrics_port else []),
        ],
        **({"ports": [{"name": METRICS_PORT_NAME, "containerPort": metrics_port}]} if metrics_port else {}),
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


def _literally(value: str) -> str:
    """A variable's value that reaches the container as it is: the kubelet puts others' values for `$(NAME)` in it."""
    return value.replace("$", "$$")


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


def _training_volumes(wanted: Resources) -> list[Mounted]:
    found: list[Mounted] = []
    if (shared_memory := _shared_memory(wanted)) is not None:
        found.append(({"name": "shm", "emptyDir": shared_memory}, "/dev/shm"))  # noqa: S108
    if wanted.model_cache is not None:
        claim = {"claimName": wanted.model_cache}
        found.append(({"name": "models", "persistentVolumeClaim": claim}, MODEL_CACHE_DIR))
    return found


def _volumes(scratch: str, more: list[Mounted], read: list[Mounted]) -> tuple[list[Manifest], list[Manifest]]:
    written: list[Mounted] = [
        ({"name": "work", "emptyDir": {"sizeLimit": scratch}}, WORK_DIR),
        ({"name": "tmp", "emptyDir": {"sizeLimit": TEMPORARY_SIZE}}, "/tmp"),  # noqa: S108
        *more,
    ]
    mounts: list[Manifest] = [{"name": volume["name"], "mountPath": path} for volume, path in written]
    mounts += [{"name": volume["name"], "mountPath": path, "readOnly": True} for volume, path in read]
    return [volume for volume, _ in (*written, *read)], mounts


def _storage_volumes(storage: Storage, settings: Settings) -> list[Mounted]:
    found: list[Mounted] = []
    if storage.credentials is not None:
        secret = {"secretName": storage.credentials.secret_name, "defaultMode": 0o440, "optional": False}
        found.append(({"name": "s3-credentials", "secret": secret}, CREDENTIALS_DIR))
    ca_bundle = authority(storage, settings)
    if ca_bundle is not None:
        path = PurePosixPath(CA_FILE)
        items = [{"key": ca_bundle.key, "path": path.name}]
        bundle = {"name": ca_bundle.config_map_name, "items": items}
        found.append(({"name": "s3-ca", "configMap": bundle}, str(path.parent)))
    return found
